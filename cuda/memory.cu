// Device memory, copies between it and the host, and launches recorded in a graph.
//
// Host arrays go through pinned memory, so that an upload returns at once and the caller may use its array
// again. Small uploads lie one after another in a stretch of it; a stretch is used again when the copies
// from it have run.

#include "device.cuh"

#include <algorithm>
#include <cstring>

namespace gpu {

struct Staging {
    static constexpr size_t stretch = 4 << 20, stretches = 4;
    char* memory = nullptr;
    cudaEvent_t copied[stretches] = {};
    size_t at = 0; // in all stretches together

    // A place for up to `bytes`, at most what is left of the stretch in hand; `size` says how much.
    char* take(size_t bytes, size_t& size) {
        if (!memory) {
            check_cuda(cudaMallocHost((void**)&memory, stretch * stretches), "cudaMallocHost");
            for (cudaEvent_t& event : copied)
                check_cuda(cudaEventCreateWithFlags(&event, cudaEventDisableTiming),
                           "cudaEventCreate");
        }
        if (at % stretch == 0) {
            at %= stretch * stretches;
            check_cuda(cudaEventSynchronize(copied[at / stretch]), "upload");
        }
        size = std::min(bytes, stretch - at % stretch);
        return memory + at;
    }
    // The copy from the place of `size` bytes is on the stream.
    void taken(size_t size) {
        const size_t index = at / stretch;
        at = std::min((at + size + 255) / 256 * 256, (index + 1) * stretch);
        if (at % stretch == 0)
            check_cuda(cudaEventRecord(copied[index], context().stream), "upload");
    }
    ~Staging() {
        if (!memory) return;
        for (cudaEvent_t event : copied) cudaEventDestroy(event);
        cudaFreeHost(memory);
    }
};

static Staging& staging() {
    context(); // outlives it
    static thread_local Staging of_thread;
    return of_thread;
}

static void* allocate(size_t bytes) {
    Context& gpu = context();
    void* memory = nullptr;
    if (cudaMalloc(&memory, std::max<size_t>(bytes, 1)) != cudaSuccess) {
        cudaGetLastError(); // the caller says what did not fit
        return nullptr;
    }
    check_cuda(cudaMemsetAsync(memory, 0, bytes, gpu.stream), "alloc");
    return memory;
}

static void release(void* memory) {
    if (!memory) return;
    check_cuda(cudaStreamSynchronize(context().stream), "free");
    check_cuda(cudaFree(memory), "free");
}

static void check_not_recording(const char* op) {
    CHECK(!context().recording, "%s: not while launches are recorded in a graph", op);
}

static void upload(Tensor device, const void* host) {
    check_not_recording("upload");
    Staging& pinned = staging();
    const size_t bytes = device.bytes();
    for (size_t done = 0, size = 0; done < bytes; done += size) {
        char* place = pinned.take(bytes - done, size);
        std::memcpy(place, (const char*)host + done, size);
        check_cuda(cudaMemcpyAsync((char*)device.data + done, place, size, cudaMemcpyHostToDevice,
                                   context().stream),
                   "upload");
        pinned.taken(size);
    }
}

static void download(void* host, Tensor device) {
    check_not_recording("download");
    Staging& pinned = staging();
    const size_t bytes = device.bytes();
    for (size_t done = 0, size = 0; done < bytes; done += size) {
        char* place = pinned.take(bytes - done, size);
        check_cuda(cudaMemcpyAsync(place, (const char*)device.data + done, size,
                                   cudaMemcpyDeviceToHost, context().stream),
                   "download");
        check_cuda(cudaStreamSynchronize(context().stream), "download");
        std::memcpy((char*)host + done, place, size);
        pinned.taken(size);
    }
}

static void fill_zero(Tensor x) {
    if (x.size() == 0) return;
    check_cuda(cudaMemsetAsync(x.data, 0, x.bytes(), context().stream), "fill_zero");
}

static void copy(Tensor y, Tensor x) {
    CHECK(y.dtype == x.dtype && y.size() == x.size(), "copy: y is %s, x is %s",
          shape_text(y).c_str(), shape_text(x).c_str());
    if (x.size() == 0) return;
    check_cuda(
        cudaMemcpyAsync(y.data, x.data, x.bytes(), cudaMemcpyDeviceToDevice, context().stream),
        "copy");
}

static void wait() { check_cuda(cudaStreamSynchronize(context().stream), "wait"); }

static void* mark() {
    cudaEvent_t event = nullptr;
    check_cuda(cudaEventCreate(&event), "mark");
    check_cuda(cudaEventRecord(event, context().stream), "mark");
    return event;
}

static double seconds_between(void* from, void* to) {
    const cudaEvent_t start = (cudaEvent_t)from, end = (cudaEvent_t)to;
    float milliseconds = 0;
    check_cuda(cudaEventSynchronize(end), "seconds_between");
    check_cuda(cudaEventElapsedTime(&milliseconds, start, end), "seconds_between");
    check_cuda(cudaEventDestroy(start), "seconds_between");
    check_cuda(cudaEventDestroy(end), "seconds_between");
    return milliseconds * 1e-3;
}

// ---- graphs -------------------------------------------------------------------------------------

static void graph_begin() {
    check_not_recording("graph_begin");
    check_cuda(cudaStreamBeginCapture(context().stream, cudaStreamCaptureModeThreadLocal),
               "graph_begin");
    context().recording = true;
}

static void* graph_end() {
    CHECK(context().recording, "graph_end: without graph_begin");
    context().recording = false;
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t executable = nullptr;
    check_cuda(cudaStreamEndCapture(context().stream, &graph), "graph_end");
    check_cuda(cudaGraphInstantiate(&executable, graph, 0), "graph_end");
    check_cuda(cudaGraphDestroy(graph), "graph_end");
    return executable;
}

static void graph_launch(void* graph) {
    check_cuda(cudaGraphLaunch((cudaGraphExec_t)graph, context().stream), "graph_launch");
}

static void graph_free(void* graph) {
    if (!graph) return;
    wait(); // it may still run
    check_cuda(cudaGraphExecDestroy((cudaGraphExec_t)graph), "graph_free");
}

template <class T> void install_memory(Ops& ops) {
    ops.alloc = allocate;
    ops.free = release;
    ops.upload = upload;
    ops.download = download;
    ops.fill_zero = fill_zero;
    ops.copy = copy;
    ops.wait = wait;
    ops.mark = mark;
    ops.seconds_between = seconds_between;
    ops.graph_begin = graph_begin;
    ops.graph_end = graph_end;
    ops.graph_launch = graph_launch;
    ops.graph_free = graph_free;
}
template void install_memory<float>(Ops&);
template void install_memory<bf16>(Ops&);

} // namespace gpu
