// Package rpc is the ONC RPC version 2 (RFC 5531) server under the NFS programs.
package rpc
