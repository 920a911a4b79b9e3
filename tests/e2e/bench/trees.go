//go:build linux

package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// The includes of the PHP page.
const (
	includeDirs = 20
	includes    = 300
)

// includeDir is one of the include path, below a server's root.
func includeDir(i int) string { return fmt.Sprintf("app/inc%02d", i) }

// writeIncludes spreads the includes over the directories of the include path and these over the folders of a server.
// Each returns its number, after some code of the usual length.
func writeIncludes(folders []string) error {
	for i := range includes {
		dir := filepath.Join(folders[i%len(folders)], includeDir(i%includeDirs))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		var b bytes.Buffer
		fmt.Fprintf(&b, "<?php\nif (!class_exists('Lib%d', false)) {\nclass Lib%[1]d {\n", i)
		for m := range 20 {
			fmt.Fprintf(&b, "    /** Adds what method %d of library %d adds. */\n    public static function m%[1]d($x) { return $x + %[1]d; }\n", m, i)
		}
		fmt.Fprintf(&b, "}\n}\nreturn %d;\n", i)
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("lib%d.php", i)), b.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// The tree of small files, of text.
const (
	filesOfDir = 50
	dirsOfDir  = 10
	leastWords = 20
	mostWords  = 1000
	seldom     = 100 // one file of so many has the needle
	needle     = "needle"
)

// tree is what the unpacked archive must be.
type tree struct {
	files, needles int
	sum            string // of the list that sha256sum makes of all files, sorted by name
}

// writeTree writes the archive of a tree that is the same in each run.
func writeTree(name string, files int) (t tree, err error) {
	f, err := os.Create(name)
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := tar.NewWriter(f)
	src := rand.New(rand.NewPCG(7, 7))
	dirs := map[string]bool{}
	var sums []string
	for i := range files {
		dir := fmt.Sprintf("tree/d%d/e%d", i/filesOfDir/dirsOfDir, i/filesOfDir%dirsOfDir)
		for _, d := range []string{"tree", filepath.Dir(dir), dir} {
			if err := putDir(w, dirs, d); err != nil {
				return t, err
			}
		}
		text := prose(src, i%seldom == seldom/2)
		path := fmt.Sprintf("%s/f%d.txt", dir, i)
		h := &tar.Header{Name: path, Mode: 0o644, Size: int64(len(text)), ModTime: time.Unix(1_600_000_000, 0), Typeflag: tar.TypeReg}
		if err := w.WriteHeader(h); err != nil {
			return t, err
		}
		if _, err := w.Write(text); err != nil {
			return t, err
		}
		t.files++
		if i%seldom == seldom/2 {
			t.needles++
		}
		sums = append(sums, fmt.Sprintf("%s  %x\n", path, sha256.Sum256(text)))
	}
	slices.Sort(sums)
	for i, s := range sums { // as sha256sum prints it
		path, sum, _ := strings.Cut(strings.TrimSpace(s), "  ")
		sums[i] = sum + "  " + path + "\n"
	}
	t.sum = fmt.Sprintf("%x", sha256.Sum256([]byte(strings.Join(sums, ""))))
	return t, w.Close()
}

func putDir(w *tar.Writer, known map[string]bool, dir string) error {
	if known[dir] {
		return nil
	}
	known[dir] = true
	return w.WriteHeader(&tar.Header{Name: dir + "/", Mode: 0o755, ModTime: time.Unix(1_600_000_000, 0), Typeflag: tar.TypeDir})
}

func prose(src *rand.Rand, withNeedle bool) []byte {
	words := leastWords + src.IntN(mostWords-leastWords)
	var b bytes.Buffer
	for i := range words {
		if withNeedle && i == words/2 {
			b.WriteString(needle + " ")
		}
		fmt.Fprintf(&b, "w%x", src.IntN(1<<16))
		b.WriteByte(" \n"[min(i%12/11, 1)])
	}
	return b.Bytes()
}
