package l2fwd

import (
	"fmt"
	"strings"
)

// ruleset replaces the table in one transaction, in which nft first makes sure that
// there is one to delete. Not `meta protocol`, which is what is inside of a VLAN tag.
// The priority is before that of any other table that has a usual one.
const ruleset = `table netdev %[1]s
delete table netdev %[1]s
table netdev %[1]s {
	chain a {
		type filter hook ingress device "%[2]s" priority -500; policy accept;
		ether type { ip, arp } fwd to "%[3]s"
	}
	chain b {
		type filter hook ingress device "%[3]s" priority -500; policy accept;
		ether type { ip, arp } fwd to "%[2]s"
	}
}
`

func (f *Forwarder) setNFT() error {
	for _, d := range f.pair {
		// What has a meaning within nft's quotes.
		if strings.ContainsAny(d.name, `"*\`) {
			return fmt.Errorf("device %q: not a name that nft can be told", d.name)
		}
	}
	if _, err := f.exec(fmt.Sprintf(ruleset, f.opt.Name, f.pair[0].name, f.pair[1].name), "nft", "-f", "-"); err != nil {
		return err
	}
	var err error
	f.listed, err = f.list()
	return err
}

// list is the table as nft shows it, with the devices that its chains are on and the
// ones that it forwards to.
func (f *Forwarder) list() (string, error) {
	return f.exec("", "nft", "list", "table", "netdev", f.opt.Name)
}

// deleteTable deletes the table if it is there.
func (f *Forwarder) deleteTable() error {
	if _, err := f.list(); err != nil {
		return nil // nobody made it: there is no nft, no such family or no table
	}
	if _, err := f.exec("", "nft", "delete", "table", "netdev", f.opt.Name); err != nil {
		return fmt.Errorf("l2fwd: delete the nft table %s: %w", f.opt.Name, err)
	}
	return nil
}
