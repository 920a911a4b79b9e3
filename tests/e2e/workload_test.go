//go:build linux

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sheaf/tests/e2e/guest"
)

// Seen by a script: S the share, P a plain directory of the same guest, T a real tree to work with. The listing is what
// two equal trees have in common; the size of a directory is its file system's own affair.
const prelude = `
P=$(mktemp -d /root/plain.XXXXXX); trap "cd /; rm -rf $P" EXIT
T=/usr/share/perl
listing() { (cd "$1" && find . \( -type d -printf '%P %y %m %U %G %n %T@\n' \) -o -printf '%P %y %m %U %G %n %T@ %s %l\n' | LC_ALL=C sort); }
sums() { (cd "$1" && find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum); }
same() { diff <(listing "$1") <(listing "$2") && diff <(sums "$1") <(sums "$2"); }
`

// What people do all day. Each script works in a folder of its own, and fails on the first thing that goes wrong.
var workloads = []struct {
	name   string
	script string
}{
	{"git", `
mkdir work; cp -r $T/. work; cd work
git init -q .; git config user.name e2e; git config user.email e2e@example.org; git config gc.auto 0
git add -A; git commit -qm first
git ls-files '*.pm' | sed -n 1,40p | xargs sed -i '1s/^/# changed\n/'
git mv "$(git ls-files '*.pm' | sed -n 1p)" moved; git rm -q "$(git ls-files '*.pm' | sed -n 100p)"
git commit -qam second
git checkout -q HEAD~1; git checkout -q -; git branch topic
git stash list; echo more >>moved; git stash -q; git stash pop -q; git commit -qam third
git gc -q --prune=now; git fsck --full --strict
git reset -q --hard HEAD~1; git status --porcelain | (! grep .)
[ "$(git log --oneline | wc -l)" = 2 ]
cd ..; git clone -q work clone; cd clone; git fsck; diff -r --exclude=.git . ../work
git log -p >/dev/null
`},
	{"tar", `
tar -C $T -cf $P/t.tar .
mkdir out; tar -xpf $P/t.tar -C out
same $T out
tar -C out --sort=name --format=pax --pax-option=delete=atime,delete=ctime --numeric-owner -cf back.tar .
tar -C $T --sort=name --format=pax --pax-option=delete=atime,delete=ctime --numeric-owner -cf $P/want.tar .
cmp back.tar $P/want.tar
tar -df $P/t.tar -C out
`},
	{"cp -a", `
cp -a $T one
mkfifo one/fifo; ln -s nowhere one/dangling; ln one/dangling one/dangling2
f=$(cd one; find . -type f | sed -n 1p); ln one/$f one/linked; chmod 4750 one/linked; chown 12:34 one/linked
mkdir one/empty; chmod 2711 one/empty; touch -d '2001-02-03 04:05:06.789012345' one/empty
cp -a one two; same one two
cp -a one $P/one; same one $P/one
rm -rf one; [ ! -e one ]; rm -rf two/empty
`},
	{"rsync", `
cp -a $T $P/from; cd $P/from
ln -s nowhere dangling; f=$(find . -type f | sed -n 1p); ln $f linked; mkdir -m 2750 empty; mkfifo fifo
# rsync compares whole seconds where it sent no data: a copy made within the source's second keeps its own time.
touch -h -d '3 days ago' dangling empty fifo; touch -d '3 days ago' .
cd - >/dev/null
rsync -aH --checksum $P/from/ to/
rsync -aHi --checksum $P/from/ to/ | (! grep .)
rsync -aHi --checksum to/ $P/from/ | (! grep .)
same $P/from to
echo more >>$P/from/linked; rm $P/from/fifo; mkdir $P/from/new
touch -d '2 days ago' $P/from/new $P/from
rsync -aH --checksum --delete $P/from/ to/
rsync -aHi --checksum --delete $P/from/ to/ | (! grep .)
rsync -aH --inplace --append-verify $P/from/ to/
same $P/from to
`},
	{"sqlite", `
sqlite3 t.db 'pragma journal_mode=delete; create table t(id integer primary key, v text);' >mode; [ "$(cat mode)" = delete ]
for i in $(seq 20); do echo "insert into t(v) values('$i-' || hex(randomblob(200)));"; done | sqlite3 t.db
(echo 'begin;'; for i in $(seq 5000); do echo "insert into t(v) values(hex(randomblob(50)));"; done; echo 'commit;') | sqlite3 t.db
sqlite3 t.db 'begin; delete from t; rollback;'
[ "$(sqlite3 t.db 'select count(*) from t')" = 5020 ]
for p in 1 2 3; do
    (for i in $(seq 10); do sqlite3 -cmd '.timeout 60000' t.db "insert into t(v) values('p$p');"; done) & jobs[p]=$!
done
for p in 1 2 3; do wait ${jobs[p]}; done
[ "$(sqlite3 t.db "select count(*) from t where v like 'p_'")" = 30 ]
# A writer that dies in its transaction leaves a journal, from which the next reader rolls back.
cat >die.sql <<'SQL'
pragma cache_size=2;
begin;
update t set v = hex(randomblob(300));
SQL
mkfifo $P/in; sqlite3 t.db <$P/in & writer=$!; exec 6>$P/in; cat die.sql >&6
for i in $(seq 100); do [ -s t.db-journal ] && break; sleep 0.1; done
[ -s t.db-journal ]; sleep 1; kill -9 $writer; wait $writer || true; exec 6>&-
[ "$(sqlite3 t.db "select count(*) from t where v like 'p_'")" = 30 ]
[ "$(sqlite3 t.db 'pragma integrity_check')" = ok ]
sqlite3 t.db vacuum; [ "$(sqlite3 t.db 'pragma integrity_check')" = ok ]
php -r '$d = new PDO("sqlite:t.db"); $d->beginTransaction(); $d->exec("delete from t where id > 100"); $d->commit(); echo $d->query("select count(*) from t")->fetchColumn();' | grep -x 100
`},
	{"php", `
path=.
for i in $(seq 20); do mkdir -p inc$i; path=$path:$PWD/inc$i; done
for i in $(seq 100); do echo "<?php function f$i() { return $i; }" >inc$((i % 20 + 1))/lib$i.php; done
(echo '<?php $sum = 0;'
 for i in $(seq 100); do echo "require_once 'lib$i.php'; \$sum += f$i();"; done
 echo "@include 'absent.php'; echo \$sum, PHP_EOL;") >page.php
for i in 1 2 3; do [ "$(php -d include_path=$path page.php)" = 5050 ]; done
# A name that was asked for in vain exists later, in the last place looked at.
php -d include_path=$path -r 'if (@include "late.php") exit(1);'
echo '<?php return 42;' >inc20/late.php
php -d include_path=$path -r 'exit((include "late.php") === 42 ? 0 : 1);'
rm inc20/late.php
php -d include_path=$path -r 'exit(@include "late.php" ? 1 : 0);'
php -r 'session_save_path("."); session_id("abc"); session_start(); $_SESSION["n"] = 1; session_write_close(); session_start(); exit($_SESSION["n"] === 1 ? 0 : 1);'
php -r 'file_put_contents("lock", "x", LOCK_EX); $t = tempnam(".", "t"); rename($t, "u"); exit(is_file("u") ? 0 : 1);'
`},
	{"fio buffered", fio(0, "psync")},
	{"fio direct", fio(1, "psync")},
	{"fio direct, queued", fio(1, "libaio --iodepth=16")},
	{"find", `
make() { (cd "$1"; cp -a $T lib; mkdir -p a/b/c a/d; touch a/b/f{1..30} 'a/ odd "name' $'a/new\nline'; ln a/b/f1 a/d/link
    ln -s ../b a/d/s; mkfifo a/p; mknod a/null c 1 3; chmod 1777 a/d; mv a/b/f2 a/d; mv a/b/c a/d; rm -r lib/5.*.*/CPAN*
    truncate -s 5M a/sparse; find . -exec touch -h -d @1500000000 {} +); }
mkdir here $P/here; make here; P=$P/here; make $P
diff <(listing here) <(listing $P)
diff <(cd here; find | sort) <(cd $P; find | sort)
diff <(cd here; ls -lARn --time-style=+%s | grep -v '^[dt]') <(cd $P; ls -lARn --time-style=+%s | grep -v '^[dt]')
[ "$(du -s --apparent-size here/lib/*/File | cut -f1)" -gt 0 ]
rm -rf here; [ -z "$(ls)" ]
`},
}

func fio(direct int, engine string) string {
	return strings.NewReplacer("DIRECT", string(rune('0'+direct)), "ENGINE", engine).Replace(`
f() { fio --directory=. --direct=DIRECT --ioengine=ENGINE --verify=crc32c --verify_fatal=1 --do_verify=1 --group_reporting \
    --output-format=terse --terse-version=3 "$@" >fio.out || { cat fio.out; return 1; }; }
f --name=small --size=8M --rw=randwrite --bs=4k
f --name=large --size=64M --rw=write --bs=1M
f --name=mixed --size=16M --rw=randrw --bsrange=4k-256k --bs_unaligned=0 --blockalign=4k --fsync=50
f --name=many --size=4M --numjobs=3 --rw=randwrite --bs=16k --end_fsync=1
# Verified once more, after the client has dropped what it knows.
echo 3 >/proc/sys/vm/drop_caches
f --name=large --size=64M --rw=write --bs=1M --verify_only
`)
}

func TestWorkloads(t *testing.T) {
	g, _, point := share(t, version3)
	for _, w := range workloads {
		t.Run(w.name, func(t *testing.T) { work(t, g, point, w.script) })
	}
	t.Run("nothing is left behind", func(t *testing.T) {
		g.Must(t, 5*time.Minute, "rm -rf "+point+"/*; [ -z \"$(ls -A "+point+")\" ]")
	})
}

func work(t *testing.T, g *guest.Guest, point, script string) {
	t.Helper()
	dir := point + "/" + strings.Map(func(r rune) rune {
		if strings.ContainsRune(" /,", r) {
			return '-'
		}
		return r
	}, t.Name())
	g.Must(t, 5*time.Minute, prelude+"mkdir -p "+dir+"; cd "+dir+"; S=$PWD\n"+script)
}

// Without vers= the client ends at version 3 at once, and all is as before. That rests on the server telling it plainly
// that it has no version 4: a client that asks for nothing else is refused just as fast.
func TestMountWithoutVersion(t *testing.T) {
	g := theGuest(t)
	s := serverOver(t)
	for _, version := range []string{"4.2", "4"} {
		start := time.Now()
		out, status := g.Run(t, fmt.Sprintf("mkdir -p /mnt/v4; mount -t nfs -o vers=%s,tcp,port=%d %s:/ /mnt/v4",
			version, s.Port, guest.HostAddr))
		if status == 0 || !strings.Contains(out, "Protocol not supported") || time.Since(start) > 5*time.Second {
			t.Errorf("version %s: status %d after %v: %s", version, status, time.Since(start), out)
		}
	}
	start := time.Now()
	point := mount(t, g, s, unversed)
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("the mount took %v", took)
	}
	if out := g.Must(t, time.Minute, "grep ' "+point+" ' /proc/mounts"); !strings.Contains(out, "vers=3") {
		t.Errorf("mounted as %s", out)
	}
	work(t, g, point, workloads[0].script)
}

// A directory beneath an export can be mounted by itself, and one that does not exist cannot.
func TestMountSubdirectory(t *testing.T) {
	g := theGuest(t)
	s := serverOver(t)
	point := mount(t, g, s, version3)
	out := g.Must(t, time.Minute, fmt.Sprintf(`mkdir -p %s/a/b /mnt/sub; echo below >%[1]s/a/b/f
mount -t nfs -o %s %s:/a/b /mnt/sub; cat /mnt/sub/f; umount /mnt/sub
! mount -t nfs -o %[2]s %[3]s:/absent /mnt/sub`, point, fmt.Sprintf(version3, s.Port), guest.HostAddr))
	if !strings.HasPrefix(out, "below\n") || !strings.Contains(out, "No such file or directory") {
		t.Error(out)
	}
}
