// Package e2e tests the real command with a real Linux client: guests (package guest) mount what sheaf serve (package
// server) serves over several volumes, and do there what people do. Each call is also made on a plain ext4 directory in
// the guest, and the results compared.
//
// The tests need Debian and root; elsewhere they are skipped with a reason (package need). SHEAF_E2E_CACHE
// is where guests are kept between runs (default /var/tmp/sheaf-e2e), SHEAF_E2E_FILES the size of the large directory
// (default 200,000), SHEAF_E2E_KILLS how often the server dies under a client (default 12), SHEAF_E2E_BINARY a sheaf to test
// instead of this tree's.
package e2e
