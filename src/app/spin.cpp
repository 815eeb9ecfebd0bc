#include "app/spin.h"

#include <cstdlib>
#include <string>
#include <unistd.h>

// The file of this program. Its own path, not /proc/self/exe, so that its name in ps and top stays.
static std::string own_path() {
    char path[4096];
    ssize_t size = ::readlink("/proc/self/exe", path, sizeof path);
    return size > 0 && size < (ssize_t)sizeof path ? std::string(path, (size_t)size) : "";
}

void bound_spinning(char** argv) {
    for (const char* name : {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY"})
        if (std::getenv(name)) return; // the user's, or ours the second time
    std::string path = own_path();
    if (path.empty()) return;
    ::setenv("GOMP_SPINCOUNT", "1000", 1); // libgomp: rounds of the loop, some ten microseconds
    ::setenv("KMP_BLOCKTIME", "0", 1);     // libomp: milliseconds; 1 is too long already
    ::execv(path.c_str(), argv);
}
