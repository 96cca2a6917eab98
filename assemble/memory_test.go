package assemble

import "testing"

func TestCollectAt(t *testing.T) {
	rows := []struct {
		name    string
		live    uint64
		percent int
		goal    uint64
	}{
		{"before the first collection", 0, 1200, 0},
		{"empty cluster", 24 << 20, 200, 72 << 20},
		{"where both rules meet", 96 << 20, 50, 144 << 20},
		{"full cluster", 200 << 20, 50, 300 << 20},
	}
	for _, row := range rows {
		got := collectAt(row.live, serverGarbage)
		if goal := row.live + row.live*uint64(got)/100; got != row.percent || goal != row.goal {
			t.Errorf("%s: %d %%, goal %d MB", row.name, got, goal>>20)
		}
	}
}

// Every page of the program can be given back at any time.
func TestUnmapProgram(t *testing.T) {
	if err := unmapProgram(); err != nil {
		t.Fatal(err)
	}
	if err := unmapProgram(); err != nil {
		t.Fatal(err)
	}
}
