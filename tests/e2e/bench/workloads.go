//go:build linux

package main

import (
	"fmt"
	"slices"
	"strings"
)

// workload is what the guest does. Its scripts see P, the mount point; S, the shared folder; PORT, of the PHP server that is
// for this workload; and the functions of prelude.
type workload struct {
	name string
	// names and data say which of Ganesha's answers are as durable as which of ours: a workload that makes and removes names is
	// compared with async, one that writes data with sync. One that reads is compared with either.
	names, data bool
	warm        bool   // goes on with the mount as prepare left it
	prepare     string // before the mount and the time; P is mounted
	run         string // what takes the time; may set took, in µs
	check       string // fails if what was done is not there; on a fresh mount
	units       func(o *options) float64
	unit        string
}

// prelude is what the scripts share. The tree, the repository and what else is needed are made at first use.
const prelude = `
sums() { (cd "$1" && find tree -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -d' ' -f1); }
need_tar() { [ -e /tmp/tree.tar ] || cp $S/tree.tar /tmp/tree.tar; }
need_tree() { need_tar; [ -e $P/tree ] || tar -xf /tmp/tree.tar -C $P; }
need_repo() {
    [ ! -e /root/repo ] || return 0
    need_tar; mkdir /root/new; cd /root/new; export GIT_AUTHOR_DATE=@1600000000 GIT_COMMITTER_DATE=@1600000000
    git init -q .; git config user.name bench; git config user.email bench@example.org; git config gc.auto 0
    tar -tf /tmp/tree.tar | grep -v '/$' | awk 'NR % 5 == 1' >/tmp/some; tar -xf /tmp/tree.tar -T /tmp/some
    for i in 1 2 3 4 5; do find tree -type f | LC_ALL=C sort | awk -v i=$i 'NR % 10 == i' | xargs sed -i "1s/^/$i /"; git add -A; git commit -qm $i; done
    git repack -qad; cd /root; mv new repo
}
page() {
    exec 3<>/dev/tcp/127.0.0.1/$PORT; printf 'GET / HTTP/1.0\r\n\r\n' >&3; mapfile -u 3 answer; exec 3>&-
    [ "${answer[-1]}" = SUM ] || { printf '%s\n' "${answer[@]}"; return 1; }
}
# php OPTIONS: PHP's own web server, at PORT, for as long as the guest runs.
php_server() {
    (exec 3<>/dev/tcp/127.0.0.1/$PORT) 2>/dev/null && return 0
    cat >/root/page.php <<'PHP'
<?php $sum = 0; for ($i = 0; $i < COUNT; $i++) $sum += include "lib$i.php"; echo $sum;
PHP
    local path=. i; for i in {00..19}; do path=$path:$P/app/inc$i; done
    setsid php -n -d include_path=$path "$@" -S 127.0.0.1:$PORT /root/page.php >/tmp/php.$PORT 2>&1 </dev/null &
    for i in {1..600}; do (exec 3<>/dev/tcp/127.0.0.1/$PORT) 2>/dev/null && return 0; sleep 0.05; done
    cat /tmp/php.$PORT; return 1
}
# fio OPTIONS: its own time, as its start takes a guest a second.
job() {
    fio --name=job --filename=$P/fio/big --size=SIZEM --verify=crc32c --verify_interval=4k --verify_fatal=1 --do_verify=0 --verify_state_save=0 --fallocate=none \
        --randrepeat=0 --output-format=terse --terse-version=3 --output=/tmp/fio.out "$@" || { cat /tmp/fio.out; return 1; }
    took=$(awk -F';' 'NF > 50 {print 1000 * ($9 + $50)}' /tmp/fio.out)
}
need_big() { mkdir -p $P/fio; [ -e $P/fio/big ] || job --rw=write --bs=1M --end_fsync=1; }
`

// setup is prelude with the run's numbers.
func (o *options) setup() string {
	return strings.NewReplacer("SUM", fmt.Sprint(includes*(includes-1)/2), "COUNT", fmt.Sprint(includes), "SIZE", fmt.Sprint(o.size)).Replace(prelude)
}

const opcache = "php_server -d zend_extension=opcache -d opcache.enable=1 -d opcache.revalidate_freq=0; "

// randomSize is what fio reads and writes in small blocks, in MiB.
const randomSize = 16

func workloads() []workload {
	one := func(*options) float64 { return 1 }
	many := func(o *options) float64 { return float64(o.pages) }
	files := func(o *options) float64 { return float64(o.files) }
	size := func(o *options) float64 { return float64(o.size) }
	blocks := func(*options) float64 { return randomSize << 20 / 4096 }
	warm := fmt.Sprintf("for i in {1..%s}; do page; done", "PAGES")
	random := fmt.Sprintf("--bs=4k --io_size=%dM --ioengine=libaio --iodepth=16 --direct=1", randomSize)
	return []workload{
		{name: "PHP cold", prepare: "php_server; page", run: "page", units: one, unit: "requests/s"},
		{name: "PHP warm", warm: true, prepare: "php_server; page", run: warm, units: many, unit: "requests/s"},
		{name: "PHP opcache cold", prepare: opcache + "page; page", run: "page", units: one, unit: "requests/s"},
		{name: "PHP opcache warm", warm: true, prepare: opcache + "page; page", run: warm, units: many, unit: "requests/s"},
		{
			name: "git clone", names: true, prepare: "need_repo; rm -rf $P/clone", run: "git clone -q file:///root/repo $P/clone",
			check: "git -C $P/clone fsck --full --strict --no-dangling; [ $(sums $P/clone) = $(sums /root/repo) ]; rm -rf $P/clone",
			units: func(o *options) float64 { return float64(o.files / 5) }, unit: "files/s",
		},
		{
			name: "untar", names: true, prepare: "need_tar; rm -rf $P/tree", run: "tar -xf /tmp/tree.tar -C $P",
			check: "[ $(sums $P) = $TREE ]", units: files, unit: "files/s",
		},
		{
			name: "grep -r", prepare: "need_tree", run: "[ $(grep -rl needle $P/tree | wc -l) = $NEEDLES ]",
			units: files, unit: "files/s",
		},
		{
			name: "rm -rf", names: true, prepare: "need_tree", run: "rm -rf $P/tree",
			check: "[ \"$(ls -A $P | grep -cx tree || true)\" = 0 ]", units: files, unit: "files/s",
		},
		{
			name: "fio write 1 MiB", data: true, prepare: "mkdir -p $P/fio; rm -f $P/fio/big", run: "job --rw=write --bs=1M --end_fsync=1",
			check: "job --rw=read --bs=1M", units: size, unit: "MiB/s",
		},
		{name: "fio read 1 MiB", prepare: "need_big", run: "job --rw=read --bs=1M", units: size, unit: "MiB/s"},
		{
			name: "fio write 4 KiB", data: true, prepare: "need_big", run: "job --rw=randwrite " + random,
			check: "job --rw=read --bs=1M", units: blocks, unit: "blocks/s",
		},
		{name: "fio read 4 KiB", prepare: "need_big", run: "job --rw=randread " + random, units: blocks, unit: "blocks/s"},
	}
}

// chosen are the workloads that -only names.
func (o *options) chosen() ([]workload, error) {
	all := workloads()
	if o.only == "" {
		return all, nil
	}
	parts := strings.Split(o.only, ",")
	for _, part := range parts {
		if !slices.ContainsFunc(all, func(w workload) bool { return strings.Contains(w.name, part) }) {
			return nil, fmt.Errorf("no workload has %q in its name", part)
		}
	}
	return slices.DeleteFunc(all, func(w workload) bool {
		return !slices.ContainsFunc(parts, func(part string) bool { return strings.Contains(w.name, part) })
	}), nil
}
