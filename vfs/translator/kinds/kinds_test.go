package kinds

import (
	"os"
	"slices"
	"strings"
	"testing"

	"sheaf/vfs/translator"
	"sheaf/vfs/translator/metrics"
	"sheaf/vfs/translator/quota"
)

// TestAll lists the kinds, and wants each in the table of README.md.
func TestAll(t *testing.T) {
	readme, err := os.ReadFile("../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, k := range All(metrics.NewRecorder(func(uint64) string { return "" }).Kind(), quota.NewKind("")) {
		names = append(names, k.Name)
		if k.Help == "" || k.New == nil {
			t.Errorf("%s has no help, or cannot be made", k.Name)
		}
		if !strings.Contains(string(readme), "\n| `"+k.Name+"` | ") {
			t.Errorf("README.md does not describe %s", k.Name)
		}
	}
	if want := []string{"metrics", "negative", "quota", "readonly", "script", "trace"}; !slices.Equal(names, want) {
		t.Errorf("kinds %v, want %v", names, want)
	}
	if err := translator.Check(All(translator.Kind{Name: "metrics"}, translator.Kind{Name: "quota"}), []translator.Spec{{Kind: "nix"}}); err == nil {
		t.Error("a kind that there is not is taken")
	}
}
