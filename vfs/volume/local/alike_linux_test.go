package local

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sheaf/vfs"
	"sheaf/vfs/volume"
	"sheaf/vfs/volume/volumetest"
)

// onHosts runs f on every kind of file system that the host can mount.
func onHosts(t *testing.T, kinds []string, f func(t *testing.T, h *volumetest.Host)) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) { f(t, volumetest.NewHost(t, kind)) })
	}
}

var imageHosts = []string{"ext4", "ext4-128", "xfs", "btrfs"}

// makeOne makes an object of a type and gives its identity.
func makeOne(t *testing.T, d volume.Dir, name vfs.Name, typ vfs.Type) volume.Identity {
	t.Helper()
	var id volume.Identity
	var err error
	switch typ {
	case vfs.Regular:
		var f volume.File
		if f, _, id, err = d.Create(t.Context(), name, own(0o644)); err == nil {
			err = f.Close()
		}
	case vfs.Directory:
		var s volume.Dir
		if s, _, id, err = d.Mkdir(t.Context(), name, own(0o755)); err == nil {
			err = s.Close()
		}
	case vfs.Symlink:
		_, id, err = d.Symlink(t.Context(), name, "x", own(0))
	default:
		_, id, err = d.Mknod(t.Context(), name, typ, 0, 0, own(0o644))
	}
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// TestIdentitiesNeverComeAgain makes and removes objects as fast as it can: where a volume says so, no identity comes
// twice; where it does not, it says so.
func TestIdentitiesNeverComeAgain(t *testing.T) {
	const rounds = 1500
	onHosts(t, volumetest.HostKinds, func(t *testing.T, h *volumetest.Host) {
		v := adopted(t, h.Dir)
		seen := make(map[volume.Identity]bool)
		keys := make(map[volume.Key]bool)
		again := 0
		for i := range rounds {
			typ := []vfs.Type{vfs.Regular, vfs.Directory, vfs.Symlink, vfs.FIFO}[i%4]
			name := nameOf("x")
			id := makeOne(t, v.Root(), name, typ)
			if seen[id] {
				again++
			}
			seen[id], keys[id.Key] = true, true
			remove := v.Root().Unlink
			if typ == vfs.Directory {
				remove = v.Root().Rmdir
			}
			if err := remove(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		}
		t.Logf("%d objects, %d identities, %d keys", rounds, len(seen), len(keys))
		if again > 0 && v.Caps().StrongIdentity {
			t.Errorf("%d identities came again", again)
		}
		if v.Caps().StrongIdentity != (h.Kind != "overlay") {
			t.Errorf("%s is strong: %v", h.Kind, v.Caps().StrongIdentity)
		}
	})
}

// TestIdentityOutlivesRemount: a disk that is attached again under another number is the same volume, and all on it
// what it was.
func TestIdentityOutlivesRemount(t *testing.T) {
	onHosts(t, imageHosts, func(t *testing.T, h *volumetest.Host) {
		v, err := Open(t.Context(), h.Dir, Options{Name: "vol", Adopt: testMarker()})
		if err != nil {
			t.Fatal(err)
		}
		was := v.Marker()
		ids := make(map[string]volume.Identity)
		for typ, n := range map[vfs.Type]string{vfs.Regular: "f", vfs.Directory: "d", vfs.Symlink: "s", vfs.FIFO: "p"} {
			ids[n] = makeOne(t, v.Root(), nameOf(n), typ)
		}
		dev := v.host.dev
		if err := v.Close(); err != nil {
			t.Fatal(err)
		}
		h.Renumber(t)
		v = adopted(t, h.Dir)
		if m := v.Marker(); m.Volume != was.Volume || m.Birth != was.Birth {
			t.Errorf("%+v, was %+v", m, was)
		}
		if h.Kind != "btrfs" && v.host.dev == dev { // btrfs numbers its subvolumes itself
			t.Errorf("the device is still %d", dev)
		}
		for n, id := range ids {
			if _, is, err := v.Root().IdentifyAt(t.Context(), nameOf(n)); err != nil || is != id {
				t.Errorf("%s: %+v, %v; was %+v", n, is, err, id)
			}
		}
	})
}

// TestCopiesAreKnown: a copy of a volume is refused, by whatever program it was made; one that is made block for block is the
// volume itself, and refused beside it.
func TestCopiesAreKnown(t *testing.T) {
	onHosts(t, imageHosts, func(t *testing.T, h *volumetest.Host) {
		was := adoptAndClose(t, h.Dir)
		for _, c := range copiers(t) {
			to := filepath.Join(t.TempDir(), "copy")
			c(t, h.Dir, to)
			_, err := Open(t.Context(), to, Options{Name: "copy"})
			refused(t, err, ErrCopy, "--adopt")
			if m, err := Inspect("copy", to); !errors.Is(err, ErrCopy) || m.Volume != was.Volume {
				t.Errorf("%+v, %v", m, err)
			}
			if err := CheckDistinct([]Place{{"vol", h.Dir}, {"copy", to}}); err != nil {
				t.Errorf("a copy that is known cannot be taken for the original: %v", err)
			}
		}
		if h.Kind == "btrfs" { // two of one id cannot be mounted, the kernel takes them for parts of one
			return
		}
		clone := h.Clone(t)
		refused(t, CheckDistinct([]Place{{"vol", h.Dir}, {"clone", clone.Dir}}), nil, "clone of the other")
		h.Unmount(t)
		if m := adoptAndClose(t, clone.Dir); m.Volume != was.Volume {
			t.Errorf("instead of the original it is volume %s, was %s", m.Volume, was.Volume)
		}
	})
}

// copiers are the programs that copy a volume's tree with all that it says of itself.
func copiers(t *testing.T) []func(t *testing.T, from, to string) {
	t.Helper()
	programs := [][]string{{"cp", "-a", "--preserve=all", "FROM/.", "TO"}, {"rsync", "-aHAX", "FROM/", "TO/"}, {"sh", "-c", "tar -C FROM --xattrs -cf - . | tar -C TO --xattrs -xpf -"}}
	var all []func(t *testing.T, from, to string)
	for _, p := range programs {
		if _, err := exec.LookPath(p[0]); err != nil {
			t.Logf("not tried: %v", err)
			continue
		}
		all = append(all, func(t *testing.T, from, to string) { copyBy(t, p, from, to) })
	}
	return all
}

func copyBy(t *testing.T, program []string, from, to string) {
	t.Helper()
	if err := os.MkdirAll(to, 0o755); err != nil {
		t.Fatal(err)
	}
	args := make([]string, len(program))
	for i, a := range program {
		args[i] = strings.NewReplacer("FROM", from, "TO", to).Replace(a)
	}
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
}

// TestSnapshotIsACopy: a btrfs snapshot has inode numbers, generations and birth times of its original, and is another
// volume all the same.
func TestSnapshotIsACopy(t *testing.T) {
	h := volumetest.NewHost(t, "btrfs")
	vol, snap := filepath.Join(h.Dir, "vol"), filepath.Join(h.Dir, "snap")
	command(t, "btrfs", "subvolume", "create", vol)
	v, err := Open(t.Context(), vol, Options{Name: "vol", Adopt: testMarker()})
	if err != nil {
		t.Fatal(err)
	}
	id := makeOne(t, v.Root(), nameOf("f"), vfs.Regular)
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	command(t, "btrfs", "subvolume", "snapshot", vol, snap)
	_, err = Open(t.Context(), snap, Options{Name: "snap"})
	refused(t, err, ErrCopy)
	s := adopted(t, snap)
	_, is, err := s.Root().IdentifyAt(t.Context(), nameOf("f"))
	if err != nil || is == id || is.Key != id.Key || is.Gen != id.Gen {
		t.Errorf("f is %+v (%v) in the snapshot and %+v in the original", is, err, id)
	}
}

// TestRestoredMarker restores .sheaf from a backup: in its old directory it is an older state of the same volume; in a new one
// the volume looks like a copy, and becomes itself by --adopt.
func TestRestoredMarker(t *testing.T) {
	dir := t.TempDir()
	was := adoptAndClose(t, dir)
	backup := filepath.Join(t.TempDir(), "backup.tar")
	command(t, "tar", "-C", dir, "--xattrs", "-cpf", backup, volume.PrivateName)
	v, err := Open(t.Context(), dir, Options{Name: "vol"})
	if err != nil {
		t.Fatal(err)
	}
	newer := was
	newer.Epoch = 7
	if err := errors.Join(v.SetMarker(t.Context(), newer), v.Close()); err != nil {
		t.Fatal(err)
	}
	command(t, "tar", "-C", dir, "--xattrs", "-xpf", backup)
	if m := adoptAndClose(t, dir); m.Volume != was.Volume || m.Epoch != was.Epoch {
		t.Errorf("%+v, want the restored %+v", m, was)
	}
	if err := os.RemoveAll(filepath.Join(dir, volume.PrivateName)); err != nil {
		t.Fatal(err)
	}
	command(t, "tar", "-C", dir, "--xattrs", "-xpf", backup)
	_, err = Open(t.Context(), dir, Options{Name: "vol"})
	refused(t, err, ErrCopy, "--adopt")
}

func command(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
}
