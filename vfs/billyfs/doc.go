// Package billyfs is a vfs.FS as a billy.Filesystem, for one caller.
//
// billy speaks paths, vfs speaks nodes and names. A path is cleaned as text
// first, as billy's own implementations do, and must not lead above the root; then
// it is walked one name at a time, each look-up with the caller's permissions.
// Symbolic links are resolved here, inside the root only: an absolute target
// begins at the root of the FS the path was given to, and one that leads above
// it is [billy.ErrCrossedBoundary]. At most [maxLinks] are followed.
//
// # Differences from a local file system
//
//   - A file is opened once, by node: it stays open when it is renamed, and when
//     it is removed its next read is an error, as over NFS.
//   - O_APPEND asks for the size and writes there: two writers that append at
//     the same time may overwrite each other.
//   - Lock excludes other Locks made through this FS and its chroots, no other
//     process.
//   - Modes are taken as given: there is no umask.
//   - Create, Rename and Symlink make missing parent directories, as billy
//     demands, unless Options say otherwise.
//
// # Errors
//
// Errors are *os.PathError or *os.LinkError whose cause is fs.ErrNotExist,
// fs.ErrExist, fs.ErrPermission, billy.ErrReadOnly or billy.ErrNotSupported where
// one of these says it, for os.IsNotExist and its like look no further, and the
// error of the vfs.FS where none does. [StatusOf] gives the status of either.
package billyfs
