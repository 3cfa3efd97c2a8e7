package softbank

import (
	"crypto/hmac"
	"crypto/md5"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"layeh.com/radius"
	"layeh.com/radius/rfc2865"
	"layeh.com/radius/rfc2869"

	"sofutobanku/internal/softbank/vsa"
)

// vendorID is the enterprise number of SoftBank BB.
const vendorID = 22197

// Request is what one Ask is about.
type Request struct {
	// Prefix is the line's IPv6 prefix, delegated or from a router
	// advertisement, of at most 64 bits.
	Prefix netip.Prefix
	// TerminalMAC is NTT's suboption 201 from DHCPv6; it may be nil.
	TerminalMAC net.HardwareAddr
	// WANMAC is the WAN device's own address.
	WANMAC net.HardwareAddr
}

// nonce is what must be new in each Access-Request.
type nonce struct {
	identifier    byte
	authenticator [16]byte
	challenge     [16]byte
}

// AccessRequest returns the Access-Request for req with what a Client chooses at random.
func (o *Options) AccessRequest(req Request, identifier byte, authenticator, challenge [16]byte) ([]byte, error) {
	return o.encode(req, nonce{identifier, authenticator, challenge})
}

// encode returns the Access-Request, its attributes in the order that the
// line's known clients have.
func (o *Options) encode(req Request, n nonce) ([]byte, error) {
	secret := []byte(o.SharedSecret.Reveal())
	p := &radius.Packet{
		Code:          radius.CodeAccessRequest,
		Identifier:    n.identifier,
		Authenticator: n.authenticator,
	}
	unit, err := o.unit(req)
	if err != nil {
		return nil, err
	}
	name := o.UserName(req.Prefix)
	switch {
	case name == "":
		return nil, fmt.Errorf("radius: prefix %s: an IPv6 prefix of at most 64 bits is needed", req.Prefix)
	case len(name) > maxValue:
		return nil, fmt.Errorf("radius: option username: %d bytes, at most %d fit into a request", len(name), maxValue)
	}

	// First, so that no attribute in front of it can be played with.
	if o.SendMessageAuthenticator {
		p.Add(rfc2869.MessageAuthenticator_Type, make([]byte, md5.Size))
	}
	p.Add(rfc2865.UserName_Type, radius.Attribute(name))
	password := radius.Attribute(chapPassword(o.CHAPIdent, o.Password.Reveal(), n.challenge[:]))
	challenge := radius.Attribute(n.challenge[:])
	if o.Line == CROSS {
		p.Add(rfc2865.CHAPPassword_Type, password)
		p.Attributes = append(p.Attributes, unit...)
		p.Add(rfc2865.CHAPChallenge_Type, challenge)
	} else {
		p.Attributes = append(p.Attributes, unit...)
		p.Add(rfc2865.CHAPChallenge_Type, challenge)
		p.Add(rfc2865.CHAPPassword_Type, password)
	}

	b, err := p.MarshalBinary()
	if err != nil {
		return nil, fmt.Errorf("radius: request: %w", err)
	}
	if o.SendMessageAuthenticator {
		// The field is still zero, as its own computation wants it.
		mac := hmac.New(md5.New, secret)
		mac.Write(b)
		mac.Sum(b[headerLen+2 : headerLen+2])
	}
	return b, nil
}

// unit returns attributes 1 to 4, which say what the router claims to be.
func (o *Options) unit(req Request) (radius.Attributes, error) {
	mac := o.mac(req)
	if mac == nil {
		return nil, errors.New("radius: there is no MAC address to send: set option 'mac'")
	}
	var p radius.Packet
	err := errors.Join(
		vsa.SoftBankBBMAC_AddString(&p, o.MACFormat.Format(mac)),
		vsa.SoftBankBBManufacturer_AddString(&p, o.Manufacturer),
		vsa.SoftBankBBModel_AddString(&p, o.Model),
		vsa.SoftBankBBHWRevision_AddString(&p, o.HWRevision),
	)
	if err != nil {
		return nil, fmt.Errorf("radius: options 'mac', 'manufacturer', 'model', 'hwrev': %w", err)
	}
	if !o.SinglePacking {
		return p.Attributes, nil
	}
	var all radius.Attribute
	for _, avp := range p.Attributes {
		all = append(all, avp.Attribute[4:]...)
	}
	packed, err := radius.NewVendorSpecific(vendorID, all)
	if err != nil {
		return nil, fmt.Errorf("radius: options 'manufacturer', 'model', 'hwrev' do not fit into one attribute, shorten them or set option 'vsa_packing' to 'separate': %w", err)
	}
	return radius.Attributes{{Type: rfc2865.VendorSpecific_Type, Attribute: packed}}, nil
}

// chapPassword is RFC 2865 5.3: ident ‖ MD5(ident ‖ password ‖ challenge).
func chapPassword(ident byte, password string, challenge []byte) []byte {
	h := md5.New()
	h.Write([]byte{ident})
	h.Write([]byte(password))
	h.Write(challenge)
	return h.Sum([]byte{ident})
}
