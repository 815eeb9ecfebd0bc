#pragma once
// Threads of OpenMP spin while they wait for each other: for milliseconds in libgomp, for 200 ms in
// libomp. On a machine with free cores that saves a wake-up; on a busy one it burns the time slice
// that the awaited thread needs, and a run takes twenty times as long. A spin of some microseconds
// costs nothing on either.
//
// Both runtimes read the environment once, in a constructor that runs before any code of this
// program. So the program sets it and starts itself anew, under the same process id. What the user
// has set stays: any of OMP_WAIT_POLICY, GOMP_SPINCOUNT, KMP_BLOCKTIME, KMP_LIBRARY. Where the
// program cannot find itself (no /proc, or its file is gone) everything runs as the runtimes have
// it by default.

// The first thing in main, before any thread.
void bound_spinning(char** argv);
