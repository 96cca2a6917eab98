package node

import (
	"bytes"
	"io"
	"os"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/duetk8s/duet/node/internal/podstate"
)

// What a status shows of a container that failed and left no message: the end of its log.
const (
	lastLines = 80
	lastBytes = 2048
)

// lastWords adds what a container left as its termination message.
func (w *worker) lastWords(name string, i *podstate.Instance) {
	c := spec(w.pod, name)
	if c == nil {
		return
	}
	message := w.content.TerminationMessage(w.uid, name, i.Attempt)
	if message == "" && i.ExitCode != 0 && c.TerminationMessagePolicy == corev1.TerminationMessageFallbackToLogsOnError {
		message = endOfLog(w.content.Log(w.pod, name, i.Attempt))
	}
	if message != "" {
		i.Message = message
	}
}

// endOfLog gives the last lines of a log as the container wrote them; "" if there is none.
func endOfLog(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	// Each line has some 40 bytes before what was written.
	const tail = lastBytes + lastLines*64
	if size, err := f.Seek(0, io.SeekEnd); err == nil {
		if _, err := f.Seek(max(size-tail, 0), io.SeekStart); err != nil {
			return ""
		}
	}
	data, err := io.ReadAll(f)
	if err != nil {
		return ""
	}
	lines := bytes.SplitAfter(data, []byte("\n"))
	if len(lines) > lastLines+1 {
		lines = lines[len(lines)-lastLines-1:]
	}
	var out strings.Builder
	for _, line := range lines {
		out.WriteString(written(string(line)))
	}
	all := out.String()
	return all[max(len(all)-lastBytes, 0):]
}

// written takes from a line of a log, "2026-11-22T10:00:00.0Z stdout F text\n", what the container
// wrote; F ends a line of it, P does not.
func written(line string) string {
	_, line, _ = strings.Cut(line, " ")
	_, line, _ = strings.Cut(line, " ")
	tag, text, ok := strings.Cut(line, " ")
	if !ok {
		return ""
	}
	if strings.HasPrefix(tag, "P") {
		return strings.TrimSuffix(text, "\n")
	}
	return text
}
