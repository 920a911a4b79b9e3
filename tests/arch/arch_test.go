package arch

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// module is the module's path, the first element of every import of ours.
const module = "sheaf"

// A pkg is what the tests need to know of one package: a directory and the
// imports of its files, whatever they are built for.
type pkg struct {
	dir     string              // relative to the repository, with slashes
	imports map[string][]string // import path → files that are not tests
	tests   map[string][]string // import path → test files
	doc     string              // the package's doc comment
	docs    []string            // the files that carry one
}

// root is the repository's directory.
func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "go.mod")); err != nil {
		t.Fatalf("the repository's root is not two levels up: %v", err)
	}
	return dir
}

// packages parses every package of the repository. Build constraints are not
// applied: what may be imported does not depend on the system.
func packages(t *testing.T) []*pkg {
	t.Helper()
	byDir := map[string]*pkg{}
	top := root(t)
	err := filepath.WalkDir(top, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if p != top && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata") {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(p, ".go") {
			return nil
		}
		rel, err := filepath.Rel(top, p)
		if err != nil {
			return err
		}
		return addFile(byDir, p, filepath.ToSlash(rel))
	})
	if err != nil {
		t.Fatal(err)
	}
	all := make([]*pkg, 0, len(byDir))
	for _, p := range byDir {
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b *pkg) int { return strings.Compare(a.dir, b.dir) })
	if len(all) < 5 {
		t.Fatalf("only %d packages found: the walk is broken", len(all))
	}
	return all
}

// addFile parses the file at abs, called rel in the repository, into its package.
func addFile(byDir map[string]*pkg, abs, rel string) error {
	f, err := parser.ParseFile(token.NewFileSet(), abs, nil, parser.ImportsOnly|parser.ParseComments)
	if err != nil {
		return err
	}
	dir := path.Dir(rel)
	p := byDir[dir]
	if p == nil {
		p = &pkg{dir: dir, imports: map[string][]string{}, tests: map[string][]string{}}
		byDir[dir] = p
	}
	into := p.imports
	if strings.HasSuffix(rel, "_test.go") {
		into = p.tests
	} else if f.Doc != nil && strings.TrimSpace(docText(f.Doc)) != "" {
		p.doc, p.docs = docText(f.Doc), append(p.docs, rel)
	}
	for _, imp := range f.Imports {
		name, err := strconv.Unquote(imp.Path.Value)
		if err != nil {
			return fmt.Errorf("%s: %w", rel, err)
		}
		into[name] = append(into[name], rel)
	}
	return nil
}

func docText(g *ast.CommentGroup) string { return g.Text() }

// matches reports whether dir is one that pattern means: itself, or with a
// trailing "/..." itself and everything beneath it, or with "/*" only what is
// beneath it.
func matches(pattern, dir string) bool {
	if base, ok := strings.CutSuffix(pattern, "/..."); ok {
		return dir == base || strings.HasPrefix(dir, base+"/")
	}
	if base, ok := strings.CutSuffix(pattern, "/*"); ok {
		return strings.HasPrefix(dir, base+"/")
	}
	return dir == pattern
}

func matchesAny(patterns []string, dir string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, dir) })
}

// downhill is the graph of design §3: what a room may import of ours in code
// that is not a test. The first line that matches a room counts. A room that
// no line matches may not exist.
var downhill = []struct {
	room string
	may  []string
	why  string
}{
	{"cmd/sheaf", []string{"cmd/sheaf/share"}, "commands are thin callers of the Go API"},
	{"cmd/sheaf/share", []string{"nfsd/...", "vfs/...", "placement/...", "meta"}, "the wiring sees everything below it"},
	{"nfsd/gonfs", []string{"vfs", "vfs/billyfs"}, "the stock engine is served from paths"},
	{"nfsd/rpc", []string{"nfsd/xdr"}, "RPC knows nothing of files"},
	{"nfsd/xdr", nil, "the codec knows nothing at all"},
	{"nfsd/*", []string{"vfs", "nfsd/rpc", "nfsd/xdr"}, "a program speaks the contract"},
	{"nfsd", []string{"vfs", "nfsd/rpc", "nfsd/xdr", "nfsd/mount3", "nfsd/nfs3"}, "the protocol sees the contract, never the union"},
	{"vfs", nil, "the contract is a leaf"},
	{"vfs/perm", []string{"vfs"}, "rules are pure"},
	{"vfs/lease", []string{"vfs"}, "leases know nodes only"},
	{"vfs/billyfs", []string{"vfs", "vfs/perm"}, "an adapter of any FS"},
	{"vfs/translator", []string{"vfs"}, "the helper of layers knows the contract only"},
	{"vfs/translator/kinds", []string{"vfs/translator/..."}, "the one list of all kinds of layers"},
	{"vfs/translator/*", []string{"vfs", "vfs/perm", "vfs/translator"}, "a layer over any FS"},
	{"vfs/vfstest", []string{"vfs", "vfs/perm"}, "the reference depends on the rules only"},
	{"vfs/volume", []string{"vfs"}, "the contract of a volume"},
	{"vfs/volume/fault", []string{"vfs", "vfs/volume", "vfs/volume/hook"}, "it is a hook"},
	{"vfs/volume/meter", []string{"vfs", "vfs/volume", "vfs/volume/hook"}, "it is a hook"},
	{"vfs/volume/delay", []string{"vfs", "vfs/volume", "vfs/volume/hook"}, "it is a hook"},
	{"vfs/volume/volumetest", []string{"vfs", "vfs/volume", "tests/need"}, "it is for tests, and asks what the machine has"},
	{"vfs/volume/*", []string{"vfs", "vfs/volume", "vfs/perm"}, "a volume knows nothing of the union"},
	{"vfs/union", []string{"vfs", "vfs/perm", "vfs/lease", "vfs/volume", "placement", "meta"}, "the union sees contracts, not volumes' code"},
	{"placement", []string{"vfs"}, "policies are pure"},
	{"placement/mover", []string{"vfs", "placement"}, "what it needs of the union is its own small interface"},
	{"meta", []string{"vfs"}, "the index knows rows, not who asks"},
	{"tests/...", []string{"..."}, "tests look at everything"},
	{"contrib/...", []string{"vfs", "vfs/translator/..."}, "examples use what others may use"},
}

// TestImportsRunDownhill keeps the direction of design §3.
func TestImportsRunDownhill(t *testing.T) {
	for _, p := range packages(t) {
		i := slices.IndexFunc(downhill, func(r struct {
			room string
			may  []string
			why  string
		},
		) bool {
			return matches(r.room, p.dir)
		})
		if i < 0 {
			t.Errorf("%s is no room of the house: give it a line in design §3 and in this test", p.dir)
			continue
		}
		rule := downhill[i]
		for imp, files := range p.imports {
			dir, ours := strings.CutPrefix(imp, module+"/")
			if !ours || slices.Contains(rule.may, "...") || matchesAny(rule.may, dir) {
				continue
			}
			t.Errorf("%s imports %s in %v, uphill: %s", p.dir, dir, files, rule.why)
		}
	}
}

// TestTestsStayOutOfCode keeps test helpers out of the program.
func TestTestsStayOutOfCode(t *testing.T) {
	helpers := []string{"vfs/vfstest", "vfs/volume/volumetest", "tests/..."}
	users := append([]string{"vfs/volume/fault"}, helpers...)
	for _, p := range packages(t) {
		for imp, files := range p.imports {
			dir, ours := strings.CutPrefix(imp, module+"/")
			if (imp == "testing" || ours && matchesAny(helpers, dir)) && !matchesAny(users, p.dir) {
				t.Errorf("%s imports %s in %v: that is for tests only", p.dir, imp, files)
			}
		}
	}
}

// kept says which rooms a library may be used in, by code and by tests.
var kept = []struct {
	lib   string   // import path, or the beginning of one before a slash
	code  []string // rooms whose code may import it
	tests []string // rooms whose tests may, too
	why   string
}{
	{"github.com/willscott/go-nfs-client", nil, []string{"nfsd/...", "cmd/sheaf/...", "tests/..."}, "a client is a tool of tests"},
	{"github.com/willscott/go-nfs", []string{"nfsd/..."}, []string{"cmd/sheaf/..."}, "its vocabulary and the stock engine stay behind nfsd"},
	{"github.com/go-git/go-billy/v5", []string{"vfs/billyfs", "nfsd/gonfs"}, nil, "paths are not how the share is spoken to"},
	{"github.com/dgraph-io", []string{"meta"}, nil, "an engine beneath meta's store can be exchanged"},
	{"github.com/spf13/viper", []string{"cmd/sheaf"}, nil, "settings reach packages as typed options"},
	{"github.com/spf13/cobra", []string{"cmd/sheaf"}, nil, "commands are commands"},
	{"github.com/spf13/pflag", []string{"cmd/sheaf"}, nil, "flags are for commands"},
	{"github.com/coreos/go-systemd/v22", []string{"cmd/sheaf"}, nil, "the service manager is the command's business"},
	{"github.com/buildbarn/go-xdr", nil, []string{"nfsd/..."}, "a second oracle for our wire code, in tests only"},
	// meta watches the room of its own directory, rpc reads sockets that have something.
	{"golang.org/x/sys", []string{"vfs/volume/local", "vfs/volume/volumetest", "meta", "nfsd/rpc"}, []string{"..."}, "the only code that knows host system calls on files"},
	{"github.com/prometheus", []string{"vfs/translator/metrics", "cmd/sheaf/share"}, []string{"cmd/sheaf"}, "counters have an endpoint, rooms have numbers"},
	{"pgregory.net/rapid", []string{"vfs/vfstest", "vfs/volume/volumetest"}, []string{"..."}, "random programs are for tests"},
}

// TestLibrariesStayBehindTheirDoors keeps each library in the room that hides it.
func TestLibrariesStayBehindTheirDoors(t *testing.T) {
	allowed := func(dir string, rooms []string) bool {
		return matches("tests/...", dir) || slices.Contains(rooms, "...") || matchesAny(rooms, dir)
	}
	for _, p := range packages(t) {
		for _, k := range kept {
			uses := func(imp string) bool { return imp == k.lib || strings.HasPrefix(imp, k.lib+"/") }
			for imp, files := range p.imports {
				if uses(imp) && !allowed(p.dir, k.code) {
					t.Errorf("%s imports %s in %v: %s", p.dir, imp, files, k.why)
				}
			}
			for imp, files := range p.tests {
				if uses(imp) && !allowed(p.dir, k.code) && !allowed(p.dir, k.tests) {
					t.Errorf("tests of %s import %s in %v: %s", p.dir, imp, files, k.why)
				}
			}
		}
	}
}

// TestHostCallsStayInLocal keeps system calls out of everything but the volume
// that is a host directory. Signals and error numbers are allowed where a
// process is started and stopped.
func TestHostCallsStayInLocal(t *testing.T) {
	rooms := []string{"vfs/volume/local", "cmd/sheaf/...", "nfsd/rpc", "tests/..."}
	for _, p := range packages(t) {
		if files := p.imports["syscall"]; len(files) > 0 && !matchesAny(rooms, p.dir) {
			t.Errorf("%s imports syscall in %v: host calls belong in vfs/volume/local", p.dir, files)
		}
	}
}

// TestPackagesSayWhatTheyAre demands one doc comment for each package.
func TestPackagesSayWhatTheyAre(t *testing.T) {
	for _, p := range packages(t) {
		if len(p.imports) == 0 && len(p.tests) > 0 && p.doc == "" && len(p.docs) == 0 {
			continue // a directory of nothing but tests
		}
		switch {
		case len(p.docs) == 0:
			t.Errorf("%s has no doc comment: say in doc.go what it is for", p.dir)
		case len(p.docs) > 1:
			t.Errorf("%s has doc comments in %v: one file says what it is for", p.dir, p.docs)
		case !strings.HasPrefix(p.doc, "Package ") && !strings.HasPrefix(p.doc, "Command ") && !strings.HasPrefix(p.doc, "Sheaf "):
			t.Errorf("%s: the doc comment in %v begins %.20q; it begins with Package or Command", p.dir, p.docs, p.doc)
		}
	}
}

// top lists what may lie at the top of the repository: code has rooms.
var top = []string{
	".ci", ".gitattributes", ".gitignore", ".golangci.yml",
	"ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "README.md", "SECURITY.md",
	"cmd", "contrib", "go.mod", "go.sum", "meta", "nfsd", "placement", "tests", "vfs",
}

// untracked lists what git and a build leave there.
var untracked = []string{".git", "bin", "tmp"}

// TestTopLevelIsTidy keeps strangers from the repository's top.
func TestTopLevelIsTidy(t *testing.T) {
	entries, err := os.ReadDir(root(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		name := e.Name()
		if slices.Contains(top, name) || slices.Contains(untracked, name) ||
			strings.HasPrefix(name, "coverage.") || strings.HasSuffix(name, ".prof") || strings.HasSuffix(name, ".test") {
			continue
		}
		t.Errorf("%s does not belong at the top of the repository", name)
	}
}
