//go:build linux

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sheaf/tests/e2e/server"
	"sheaf/tests/need"
)

func serverOver(t *testing.T) *server.Server {
	t.Helper()
	return server.Start(t, server.Options{Volumes: volumes(t, 3)})
}

// Directories that are adopted from different volumes are one share: files move between them and onto each other, and
// the volumes stay ordinary trees that hold each file once.
func TestMoveBetweenVolumes(t *testing.T) {
	g := theGuest(t)
	vols := volumes(t, 3)
	on := func(volume, path string) string { return filepath.Join(vols[volume[0]-'a'].Dir, path) }
	for _, v := range vols {
		for i := range 5 {
			plant(t, on(v.Name, fmt.Sprintf("on-%s/f%d", v.Name, i)), fmt.Sprintf("f%d of %s", i, v.Name))
			plant(t, on(v.Name, fmt.Sprintf("everywhere/%s%d", v.Name, i)), fmt.Sprintf("%s%d", v.Name, i))
			plant(t, on(v.Name, fmt.Sprintf("everywhere/below/%s%d", v.Name, i)), fmt.Sprintf("%s%d below", v.Name, i))
		}
	}
	plant(t, on("a", "tree/deep/er/f"), "a file far down")
	plant(t, on("b", "tree/deep/er/g"), "another on b")
	s := server.Start(t, server.Options{Volumes: vols})
	point := mount(t, g, s, version3)
	g.Must(t, 2*time.Minute, "cd "+point+`
is() { [ "$(cat "$1")" = "$2" ] || { echo "$1: $(cat "$1"), not $2"; return 1; }; }
inode() { stat -c %i "$1"; }
mv_to() { local i; i=$(inode "$1"); mv "$1" "$2"; [ ! -e "$1" ]; }
# between directories of different volumes: neither EXDEV nor a copy, the inode number stays
i=$(inode on-a/f0); mv on-a/f0 on-b/moved; [ "$(inode on-b/moved)" = $i ]; is on-b/moved 'f0 of a'; [ ! -e on-a/f0 ]
# onto files that live elsewhere
mv on-a/f1 on-b/f1; is on-b/f1 'f1 of a'; [ ! -e on-a/f1 ]
mv on-b/f1 on-c/f1; is on-c/f1 'f1 of a'
mv on-c/f2 on-a/f2; is on-a/f2 'f2 of c'
mv on-a/f2 on-c/f2; is on-c/f2 'f2 of c'
# held open meanwhile
exec 7<on-a/f3 8<on-b/f3; mv on-a/f3 on-b/f3; is on-b/f3 'f3 of a'
[ "$(cat <&7)" = 'f3 of a' ]; [ "$(cat <&8)" = 'f3 of b' ]; exec 7<&- 8<&-
# hard links to elsewhere, symlinks, and a directory into one of another volume
ln on-a/f4 on-c/linked; is on-c/linked 'f4 of a'; [ "$(stat -c %h on-a/f4)" = 2 ]
[ "$(inode on-a/f4)" = "$(inode on-c/linked)" ]; echo changed >on-c/linked; is on-a/f4 changed
ln -s ../on-a/f4 on-b/s; mv on-b/s on-c/s; is on-c/s changed
mv tree/deep on-c/; is on-c/deep/er/f 'a file far down'; is on-c/deep/er/g 'another on b'; rmdir tree
# a directory with a copy on every volume
[ "$(ls everywhere | wc -l)" = 16 ]; i=$(inode everywhere)
mv everywhere on-b/all; [ "$(inode on-b/all)" = $i ]; [ ! -e everywhere ]
is on-b/all/a1 a1; is on-b/all/b2 b2; is on-b/all/below/c3 'c3 below'
! rmdir on-b/all/below 2>/dev/null
! mv -T on-b/all/below on-b/all 2>/dev/null
mkdir target; mv -T on-b/all target; is target/c4 c4
! mv -T on-a target 2>/dev/null
rm -r target/below; [ ! -e target/below ]; [ "$(ls target | wc -l)" = 15 ]
chmod 2751 target; chown 5:6 target; [ "$(stat -c %a,%u,%g target)" = 2751,5,6 ]
find . | LC_ALL=C sort; sync`)
	s.Stop()
	for path, want := range map[string]int{
		"on-b/moved": 1, "on-c/f1": 1, "on-c/f2": 1, "on-b/f3": 1, "on-a/f4": 1, "on-c/linked": 1, "on-c/s": 1,
		"target/a1": 1, "target/b2": 1, "on-a/f0": 0, "on-a/f1": 0, "on-b/f1": 0, "everywhere": 0, "on-b/all": 0,
		"target/below": 0, "tree": 0,
	} {
		if got := holders(vols, path); len(got) != want {
			t.Errorf("%s is on volumes %q, not on %d", path, got, want)
		}
	}
	for _, v := range vols { // each copy has the mode set on the directory
		if st, err := os.Stat(filepath.Join(v.Dir, "target")); err == nil && st.Mode().Perm() != 0o751 {
			t.Errorf("target on %s has mode %v", v.Name, st.Mode())
		}
	}
	s.Restart()
	g.Must(t, time.Minute, "cd "+point+`; [ "$(cat on-b/moved)" = 'f0 of a' ]; [ "$(ls target | wc -l)" = 15 ]
rm -rf ./*; [ -z "$(ls -A)" ]`)
	s.Stop()
	for _, v := range vols {
		if left := host(t, "find", v.Dir, "-mindepth", "1", "-not", "-path", v.Dir+"/.sheaf*"); left != "" {
			t.Errorf("left on %s after all was removed:\n%s", v.Name, left)
		}
	}
}

// filesInLarge is how many files the large directory has. They are put on the volumes before the share adopts them:
// made through it one by one they would take the longest part of the test, and show no more.
const filesInLarge = 200_000

// A listing is complete while others create and remove files in the same directory: through the same mount, and
// through another, as another client would.
func TestLargeDirectory(t *testing.T) {
	g := theGuest(t)
	vols := volumes(t, 3)
	n := need.Number(t, "SHEAF_E2E_FILES", filesInLarge)
	start := time.Now()
	for i := range n {
		dir := filepath.Join(vols[i%len(vols)].Dir, "large")
		if i < len(vols) {
			if err := os.Mkdir(dir, 0o777); err != nil {
				t.Fatal(err)
			}
		}
		f, err := os.Create(filepath.Join(dir, fmt.Sprintf("f%07d", i)))
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	t.Logf("%d files made on the volumes in %v", n, time.Since(start))
	s := server.Start(t, server.Options{Volumes: vols})
	point := mount(t, g, s, version3)
	other := mount(t, g, s, version3, "nosharecache")
	lists := func(what, where string, times int) {
		start := time.Now()
		for range times {
			out, status := g.RunFor(t, 5*time.Minute, fmt.Sprintf("%s list %s/large %d", probe(), where, n))
			if status != 0 {
				t.Errorf("%s: %s", what, out)
			}
		}
		t.Logf("%s: %v a listing", what, time.Since(start)/time.Duration(times))
	}
	lists("at first sight", point, 1)
	lists("again", other, 1)
	g.Must(t, time.Minute, fmt.Sprintf(`rm -f /run/stop
for m in %s %s; do mkdir -p $m/large; done
%[3]s churn %[1]s/large /run/stop >/run/churn 2>&1 &`, point, other, probe()))
	lists("while the same client changes it", point, 2)
	lists("while another client changes it", other, 2)
	out, status := g.RunFor(t, 2*time.Minute, `touch /run/stop; while pgrep -x probe >/dev/null; do sleep 0.1; done; cat /run/churn`)
	if status != 0 || !strings.Contains(out, "churned") {
		t.Errorf("the one that changes it: %s", out)
	}
	t.Log(strings.TrimSpace(out))
	g.Must(t, 5*time.Minute, fmt.Sprintf(`cd %s/large; [ "$(ls -f | wc -l)" = %d ]`, other, n+2))
	g.Must(t, 5*time.Minute, fmt.Sprintf(`cd %s; mkdir made; %s fill made 3000; %[2]s list made 3000; rm -r made`, point, probe()))
}
