// Package perm says what a local Linux kernel would allow a caller on an
// object, and what an operation makes of mode, owner and ACL. It is pure: no
// I/O, no clock, no locks; callers hold theirs.
//
// # Sources
//
// The rules are those of chmod(2), chown(2), open(2), truncate(2), unlink(2),
// utimensat(2), inode(7) and acl(5), and where these are silent those of the
// kernel (fs/namei.c, fs/attr.c, fs/posix_acl.c, fs/inode.c). The tests run the
// same operations on the kernel they run under and compare. What an NFS server
// must allow beyond a local kernel follows RFC 1813 section 4.4 and
// fs/nfsd/vfs.c:
//
//   - the owner of a file may read and write it whatever its mode is
//     ([ReadFile], [WriteFile], a size in [SetAttr]), since the client checked
//     at open and has no way to tell us of the open;
//   - who may execute a file may read it ([ReadFile]), since the client pages
//     it in with READ;
//   - [Access] knows neither of the two: it answers what open(2) would.
//
// # The superuser
//
// uid 0 has the capabilities CHOWN, DAC_OVERRIDE, FOWNER, FSETID and MKNOD, as
// knfsd leaves them to it. Executing a file still needs an x bit somewhere.
// Squashing happens before: whoever is 0 here is meant to be.
//
// # Umask
//
// There is none. An NFSv3 client applies the umask to the mode it sends, and
// knfsd runs with a umask of 0; so do we. If the parent has a default ACL the
// mode sent is masked by it ([Birth]) exactly as knfsd's file systems do: a
// client that does not know of the default ACL will have applied its umask
// before, and the object gets the intersection of both.
//
// # What is left out on purpose
//
// The sysctls fs.protected_hardlinks, protected_regular, protected_fifos and
// protected_symlinks are a host's policy for its own processes; knfsd does not
// apply them to its clients either. Inode flags (immutable, append) are the
// volume's to refuse.
package perm
