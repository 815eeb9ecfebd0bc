// The pretended devices, launch checks, errors and settings.

#include "engine.h"

#include <cstdarg>
#include <dlfcn.h>
#include <map>
#include <mutex>
#include <set>
#include <utility>

namespace cusim {

void die(const char* format, ...) {
    fprintf(stderr, "cuda stand-in: ");
    va_list list;
    va_start(list, format);
    vfprintf(stderr, format, list);
    va_end(list);
    fputc('\n', stderr);
    abort();
}

int setting(const char* name, std::initializer_list<const char*> values) {
    const char* value = getenv(name);
    if (!value || !*value) return 0;
    std::string all;
    for (int i = 0; i < int(values.size()); ++i) {
        if (!strcmp(value, values.begin()[i])) return i;
        all += std::string(i ? ", " : "") + values.begin()[i];
    }
    die("%s=%s: one of %s", name, value, all.c_str());
}

std::optional<int64_t> number_setting(const char* name) {
    const char* value = getenv(name);
    if (!value || !*value) return {};
    char* end;
    int64_t number = strtoll(value, &end, 10);
    if (*end) die("%s=%s is not a number", name, value);
    return number;
}

bool wgmma_is_broken() { return setting("CUSIM_WGMMA", {"right", "broken"}); }

std::mt19937_64& random_numbers() {
    thread_local std::mt19937_64 numbers(number_setting("CUSIM_SEED").value_or(1));
    return numbers;
}

static thread_local cudaError_t last_error = cudaSuccess;
static thread_local int current_device = 0;

cudaError_t note_error(cudaError_t error) {
    if (error) last_error = error;
    return error;
}

// ---- launch checks, as the device makes them --------------------------------------------------------
static std::mutex lock;
static std::map<const void*, size_t> dynamic_shared_limits;
constexpr size_t default_dynamic_shared = 48 << 10, most_shared = 227 << 10;

cudaError_t allow_dynamic_shared(const void* kernel, int bytes) {
    if (bytes < 0 || size_t(bytes) > most_shared) return note_error(cudaErrorInvalidValue);
    std::lock_guard hold(lock);
    dynamic_shared_limits[kernel] = bytes;
    return cudaSuccess;
}

// Every shape of launch once, for the table of kernels: symbol, threads, bytes of dynamic shared memory.
static void log_launch(const void* kernel, unsigned threads, size_t shared) {
    static const char* const path = getenv("CUSIM_LAUNCHES");
    if (!path || !*path) return;
    static std::set<std::tuple<const void*, unsigned, size_t>> known;
    std::lock_guard hold(lock);
    if (!known.insert({kernel, threads, shared}).second) return;
    Dl_info symbol;
    FILE* file = fopen(path, "a");
    if (file && dladdr(kernel, &symbol) && symbol.dli_sname)
        fprintf(file, "%s %u %zu\n", symbol.dli_sname, threads, shared);
    if (file) fclose(file);
}

cudaError_t launch(const cudaLaunchConfig_t& config, const void* kernel, Call call) {
    dim3 g = config.gridDim, b = config.blockDim;
    bool grid_fits = g.x && g.y && g.z && g.x <= 0x7fffffff && g.y <= 65535 && g.z <= 65535;
    bool block_fits = b.x && b.y && b.z && b.x <= 1024 && b.y <= 1024 && b.z <= 64 &&
                      size_t(b.x) * b.y * b.z <= 1024;
    if (!grid_fits || !block_fits) return note_error(cudaErrorInvalidConfiguration);
    size_t limit = default_dynamic_shared;
    {
        std::lock_guard hold(lock);
        auto own = dynamic_shared_limits.find(kernel);
        if (own != dynamic_shared_limits.end()) limit = std::max(limit, own->second);
    }
    size_t shared = config.dynamicSmemBytes;
    if (shared > limit) return note_error(cudaErrorInvalidValue);
    bool early = false;
    for (unsigned i = 0; i < config.numAttrs; ++i) {
        if (config.attrs[i].id != cudaLaunchAttributeProgrammaticStreamSerialization)
            die("a launch with an attribute that the stand-in does not know");
        early |= config.attrs[i].val.programmaticStreamSerializationAllowed != 0;
    }
    log_launch(kernel, b.x * b.y * b.z, shared);
    enqueue(config.stream, [g, b, shared, call, early] { run_grid(g, b, shared, call, early); });
    return cudaSuccess;
}

} // namespace cusim

using cusim::note_error;
using cusim::number_setting;

// ---- devices ----------------------------------------------------------------------------------------
cudaError_t cudaGetDeviceCount(int* count) {
    *count = 0;
    if (cusim::setting("CUSIM_DRIVER", {"present", "none"}))
        return note_error(cudaErrorInsufficientDriver);
    *count = number_setting("CUSIM_DEVICES").value_or(8);
    return *count ? cudaSuccess : note_error(cudaErrorNoDevice);
}
static cudaError_t check_device(int device) {
    int count;
    if (cudaError_t error = cudaGetDeviceCount(&count)) return error;
    return device >= 0 && device < count ? cudaSuccess : note_error(cudaErrorInvalidDevice);
}
cudaError_t cudaSetDevice(int device) {
    if (cudaError_t error = check_device(device)) return error;
    cusim::current_device = device;
    return cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) {
    *device = cusim::current_device;
    return cudaSuccess;
}
static int architecture() { return number_setting("CUSIM_SM").value_or(90); }
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
    if (cudaError_t error = check_device(device)) return error;
    cudaDeviceProp& p = *properties;
    p = {};
    strcpy(p.name, "stand-in on the CPU");
    size_t free_bytes;
    cudaMemGetInfo(&free_bytes, &p.totalGlobalMem);
    p.sharedMemPerBlock = cusim::default_dynamic_shared;
    p.sharedMemPerBlockOptin = cusim::most_shared;
    p.major = architecture() / 10, p.minor = architecture() % 10;
    p.multiProcessorCount = 4, p.warpSize = 32, p.maxThreadsPerBlock = 1024;
    p.l2CacheSize = 1 << 20, p.memoryBusWidth = 64;
    return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
    if (cudaError_t error = check_device(device)) return error;
    switch (attribute) {
    case cudaDevAttrClockRate:
        *value = 1000000;
        break; // kHz
    case cudaDevAttrMultiProcessorCount:
        *value = 4;
        break;
    case cudaDevAttrMemoryClockRate:
        *value = 1000000;
        break; // kHz
    case cudaDevAttrGlobalMemoryBusWidth:
        *value = 64;
        break; // bits
    case cudaDevAttrL2CacheSize:
        *value = 1 << 20;
        break;
    case cudaDevAttrComputeCapabilityMajor:
        *value = architecture() / 10;
        break;
    case cudaDevAttrComputeCapabilityMinor:
        *value = architecture() % 10;
        break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
        *value = cusim::most_shared;
        break;
    }
    return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int* version) {
    *version = cusim::setting("CUSIM_DRIVER", {"present", "none"}) ? 0 : 13000;
    return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
    *version = 13000;
    return cudaSuccess;
}

// ---- errors -----------------------------------------------------------------------------------------
cudaError_t cudaGetLastError() { return std::exchange(cusim::last_error, cudaSuccess); }
cudaError_t cudaPeekAtLastError() { return cusim::last_error; }

static constexpr struct {
    cudaError_t error;
    const char *name, *text;
} errors[] = {
    {cudaSuccess, "cudaSuccess", "no error"},
    {cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
    {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory"},
    {cudaErrorInvalidConfiguration, "cudaErrorInvalidConfiguration",
     "invalid configuration argument"},
    {cudaErrorInsufficientDriver, "cudaErrorInsufficientDriver",
     "CUDA driver version is insufficient for CUDA runtime version"},
    {cudaErrorNoDevice, "cudaErrorNoDevice", "no CUDA-capable device is detected"},
    {cudaErrorInvalidDevice, "cudaErrorInvalidDevice", "invalid device ordinal"},
    {cudaErrorNotReady, "cudaErrorNotReady", "device not ready"},
    {cudaErrorStreamCaptureUnsupported, "cudaErrorStreamCaptureUnsupported",
     "operation not permitted when stream is capturing"},
    {cudaErrorStreamCaptureInvalidated, "cudaErrorStreamCaptureInvalidated",
     "operation failed due to a previous error during capture"},
    {cudaErrorStreamCaptureImplicit, "cudaErrorStreamCaptureImplicit",
     "operation would make the legacy stream depend on a capturing blocking stream"},
    {cudaErrorIllegalState, "cudaErrorIllegalState",
     "the operation cannot be performed in the present state"},
};
const char* cudaGetErrorString(cudaError_t error) {
    for (const auto& e : errors)
        if (e.error == error) return e.text;
    return "unrecognized error code";
}
const char* cudaGetErrorName(cudaError_t error) {
    for (const auto& e : errors)
        if (e.error == error) return e.name;
    return "unrecognized error code";
}
