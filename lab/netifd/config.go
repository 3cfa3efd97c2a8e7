package netifd

import (
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
)

// netifdOwn are the options that netifd reads itself, on interfaces of every proto.
var netifdOwn = []string{
	"proto", "device", "auto", "zone", "metric", "defaultroute", "peerdns", "dns", "dns_search", "dns_metric",
	"ip4table", "ip6table", "ip6assign", "ip6hint", "ip6class", "ip6ifaceid", "delegate", "force_link",
}

// config is the options of an interface as netifd hands them to the handler.
type config struct{ object }

// Types of options in a dump.
const (
	typeArray   = 1
	typeString  = 3
	typeInteger = 5
	typeBoolean = 7
)

// read takes what fits its declared type.
func (c config) read(get func(option string) []string, h *handler) {
	set := func(option string, typ int) {
		values := get(option)
		if len(values) == 0 {
			return
		}
		if typ == typeArray {
			var list []any
			for _, word := range strings.Fields(strings.Join(values, " ")) {
				list = append(list, word)
			}
			c.object[option] = list
			return
		}
		if len(values) > 1 {
			return
		}
		switch v := values[0]; typ {
		case typeString:
			c.object[option] = v
		case typeInteger:
			if n, err := strconv.ParseInt(v, 0, 32); err == nil {
				c.object[option] = json.Number(strconv.FormatInt(n, 10))
			}
		case typeBoolean:
			switch v {
			case "1", "true":
				c.object[option] = true
			case "0", "false":
				c.object[option] = false
			}
		}
	}
	for _, option := range netifdOwn {
		typ := typeString
		switch option {
		case "metric", "dns_metric", "ip6assign":
			typ = typeInteger
		case "defaultroute", "peerdns", "auto", "delegate", "force_link":
			typ = typeBoolean
		case "dns", "dns_search", "ip6class":
			typ = typeArray
		}
		set(option, typ)
	}
	for _, d := range h.Config {
		if typ, ok := d[1].(float64); ok {
			set(d[0].(string), int(typ))
		}
	}
}

// equal tells whether a change from c to d goes unnoticed: netifd compares what the
// handler declared, the device and the zone.
func (c config) equal(d config, h *handler) bool {
	options := []string{"device", "zone"}
	for _, declared := range h.Config {
		options = append(options, declared[0].(string))
	}
	for _, option := range options {
		if !reflect.DeepEqual(c.object[option], d.object[option]) {
			return false
		}
	}
	return true
}

func (c config) bool(option string, def bool) bool {
	if b, ok := c.object[option].(bool); ok {
		return b
	}
	return def
}
