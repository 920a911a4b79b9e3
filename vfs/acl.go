package vfs

// ACLTag is the kind of an ACL entry, with the values of POSIX.1e draft 17 as
// Linux and the NFSACL protocol encode them.
type ACLTag uint16

// The kinds of entry.
const (
	ACLUserObj  ACLTag = 0x01
	ACLUser     ACLTag = 0x02
	ACLGroupObj ACLTag = 0x04
	ACLGroup    ACLTag = 0x08
	ACLMask     ACLTag = 0x10
	ACLOther    ACLTag = 0x20
)

// ACLEntry grants Perm (bits 4 read, 2 write, 1 execute) to whom Tag and ID say.
type ACLEntry struct {
	Tag  ACLTag
	Perm uint16
	ID   uint32 // of ACLUser and ACLGroup
}

// ACL is a POSIX access control list in the order of acl(5); empty means that
// the mode says everything.
type ACL []ACLEntry

// ACLs are the lists of an object.
type ACLs struct {
	Access  ACL
	Default ACL // of a directory: what new entries inherit
}
