// Package xdr encodes and decodes the External Data Representation of RFC 4506
// for the programs in nfsd.
//
// Decoding goes through a Decoder, a cursor over bytes that are already in
// memory. Its error is sticky: after the first failure every method returns
// the zero value and consumes nothing, so a caller decodes a whole structure
// and asks Err once. Opaque data and strings are returned as sub-slices of the
// input; nothing is copied and nothing is allocated, whatever length the wire
// declares. A length is compared with the caller's named maximum first and with
// the bytes that are really there second.
//
// Encoding is append-style: each Append function adds the encoding of one value
// to a byte slice and returns the longer slice, as strconv's do.
//
// What we accept:
//
//	X1  A boolean is 0 or 1 (RFC 4506 §4.4); anything else is ErrBool.
//	X2  The padding that brings opaque data to a multiple of four bytes must be
//	    present (RFC 4506 §4.9, §4.10), but its value is ignored. The RFC says
//	    zero. Clients with uninitialised padding exist, knfsd accepts them, and
//	    the bytes carry no meaning that a lie in them could change.
//	X3  Enumerations are plain uint32 here; the caller knows their values.
//	X4  Bytes after the last value are the caller's business; Rest and Len show
//	    them. RFC 5531 does not forbid them.
//
// What we write is canonical: padding is zero, booleans are 0 or 1.
package xdr
