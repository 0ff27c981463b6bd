// Launcher: runs a pattern in many fresh processes, which share its stdout.

#ifndef TOOLS_ENTROPY_PROBE_LAUNCHER_H_
#define TOOLS_ENTROPY_PROBE_LAUNCHER_H_

// Runs this program with the argument `pattern`, `processes` times, `at_once` at a time. They see
// the environment of this process and, as LD_PRELOAD, PROBE_PRELOAD (if set); with PROBE_SEED=n,
// the i-th sees HARDENED_SEED=n+i.
// Returns: whether all of them ended well.
bool Launch(const char* pattern, int processes, int at_once);

#endif  // TOOLS_ENTROPY_PROBE_LAUNCHER_H_
