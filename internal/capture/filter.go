package capture

import (
	"fmt"

	"golang.org/x/net/bpf"
)

// filter is what the kernel decides by, for each packet that passes the device, whether
// it is copied to us. radius are the RADIUS servers' ports. decode looks closer.
func filter(radius []uint16) ([]bpf.RawInstruction, error) {
	var p program
	p.add(bpf.LoadExtension{Num: bpf.ExtVLANTagPresent}) // the kernel took the tag out of the packet
	p.jump(bpf.JumpNotEqual, 0, "drop")
	p.add(bpf.LoadAbsolute{Off: 12, Size: 2})
	p.jump(bpf.JumpEqual, etherIPv4, "ipv4")
	p.jump(bpf.JumpNotEqual, etherIPv6, "drop")

	p.add(bpf.LoadAbsolute{Off: headerEther + 6, Size: 1}) // next header: no extension headers
	p.jump(bpf.JumpEqual, protoUDP, "udp6")
	p.jump(bpf.JumpNotEqual, protoICMPv6, "drop")
	p.add(bpf.LoadAbsolute{Off: headerEther + headerIPv6, Size: 1})
	p.jump(bpf.JumpLessThan, typeRS, "drop")
	p.jump(bpf.JumpGreaterThan, typeNA, "drop")
	p.add(bpf.RetConstant{Val: maxPacket})

	p.label("udp6")
	for _, off := range []uint32{0, 2} { // the ports
		p.add(bpf.LoadAbsolute{Off: headerEther + headerIPv6 + off, Size: 2})
		for _, port := range append([]uint16{portDHCPv6, portDHCPv6 + 1}, radius...) {
			p.jump(bpf.JumpEqual, uint32(port), "take")
		}
	}
	p.jump(bpf.JumpGreaterOrEqual, 0, "drop") // always

	p.label("ipv4")
	p.add(bpf.LoadAbsolute{Off: headerEther + 9, Size: 1})
	p.jump(bpf.JumpNotEqual, protoUDP, "drop")
	p.add(bpf.LoadAbsolute{Off: headerEther + 6, Size: 2})
	p.jump(bpf.JumpBitsSet, 0x3fff, "drop") // a fragment
	p.add(bpf.LoadMemShift{Off: headerEther})
	for _, off := range []uint32{0, 2} {
		p.add(bpf.LoadIndirect{Off: headerEther + off, Size: 2})
		p.jump(bpf.JumpEqual, portDHCPv4, "take")
		p.jump(bpf.JumpEqual, portDHCPv4+1, "take")
	}
	p.label("drop")
	p.add(bpf.RetConstant{Val: 0})
	p.label("take")
	p.add(bpf.RetConstant{Val: maxPacket})
	return p.assemble()
}

// program is a filter in the making, whose jumps go to names.
type program struct {
	code   []bpf.Instruction
	jumps  map[int]string
	labels map[string]int
}

func (p *program) add(i bpf.Instruction) { p.code = append(p.code, i) }

func (p *program) jump(cond bpf.JumpTest, val uint32, to string) {
	if p.jumps == nil {
		p.jumps = map[int]string{}
	}
	p.jumps[len(p.code)] = to
	p.add(bpf.JumpIf{Cond: cond, Val: val})
}

func (p *program) label(name string) {
	if p.labels == nil {
		p.labels = map[string]int{}
	}
	p.labels[name] = len(p.code)
}

func (p *program) assemble() ([]bpf.RawInstruction, error) {
	for at, name := range p.jumps {
		j := p.code[at].(bpf.JumpIf)
		skip := p.labels[name] - at - 1
		if skip > 255 {
			return nil, fmt.Errorf("capture: filter: a jump over %d instructions", skip)
		}
		j.SkipTrue = uint8(skip)
		p.code[at] = j
	}
	return bpf.Assemble(p.code)
}
