// Package pcapng writes capture files in the format that Wireshark calls pcapng, and
// reads those and the older pcap, which tcpdump writes. It knows files, not packets.
//
// Of pcapng (draft-ietf-opsawg-pcapng) it writes a section header, one interface, and an
// enhanced packet block for each packet, which is written in one piece: a capture that
// is broken off is whole up to its last packet. Blocks that hold no packets are skipped
// in reading.
package pcapng
