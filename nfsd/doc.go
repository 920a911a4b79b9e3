// Package nfsd serves a vfs.FS by NFS version 3 and MOUNT.
package nfsd
