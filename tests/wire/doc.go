// Package wire tests the server as a client meets it: an nfsd.Server over
// vfstest.Model in this process, spoken to over TCP on the loopback, byte for byte.
//
//	client_test.go      a small client: calls, arguments, decoded results
//	oracle_test.go      generated codecs (go-xdr) that every result is held to
//	golden_test.go      one exchange per procedure, kept in testdata/golden
//	procs_test.go       what each procedure of RFC 1813 promises
//	statuses_test.go    every status of vfs from every procedure
//	quirks_test.go      Q1, Q2 … of nfsd/doc.go, a test for each number
//	exports_test.go     exports(5) as clients feel it
//	hostile_test.go     forged handles, names that are none, lengths of 4 GiB
//	fuzz_test.go        random and mutated arguments for every procedure
//	replay_test.go      retransmission of what must not be run twice
//	smoke_test.go       a second client, go-nfs-client
//	layers_test.go      layers that wait or give no attributes; many clients at once
package wire
