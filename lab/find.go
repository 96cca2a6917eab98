package lab

// Find returns the data directory of a cluster that somebody wants to talk to, or a
// *NoClusterError. It may also be that of a `duet server`, which no lab has made.
func Find(name, dataDir string) (string, error) {
	dir, err := locate(name, dataDir)
	if err != nil {
		return "", err
	}
	there, err := exists(AdminKubeconfig(dir))
	if err == nil && !there {
		err = &NoClusterError{Name: name, DataDir: dir}
	}
	return dir, err
}
