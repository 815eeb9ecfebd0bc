// Streams, events and graphs. A stream is a queue of work. Eager runs work at the call; lazy runs only
// what something waits for, as late as allowed; random runs random beginnings of random queues. A program
// that forgets a wait gets right numbers from the eager order and wrong ones from the lazy.
//
// Each host thread has devices and streams of its own, as one rank has.

#include "checker.h"
#include "engine.h"

#include <chrono>
#include <deque>
#include <map>
#include <mutex>
#include <vector>

using Work = std::function<void()>;

struct CUgraph_st {
    std::vector<Work> nodes; // in the order of the calls, which is a valid order
};
struct CUgraphExec_st {
    std::shared_ptr<const std::vector<Work>> nodes;
};
struct Capture {
    cudaStreamCaptureMode mode;
    std::vector<Work> nodes;
    bool invalid = false;
};
struct CUstream_st {
    std::deque<Work> queue;
    uint64_t issued = 0, done = 0;
    std::unique_ptr<Capture> capture; // while it is captured
};
struct CUevent_st {
    cudaStream_t stream = nullptr; // null: not recorded yet
    uint64_t at = 0;               // the event has happened when `at` pieces of the stream are done
    bool timing = true, captured = false;
    std::chrono::steady_clock::time_point time;
};

namespace {

struct DeviceStreams {
    CUstream_st null;
    std::vector<cudaStream_t> others;
};

DeviceStreams& device_streams() {
    static std::mutex lock;
    static auto& all =
        *new std::vector<std::map<int, DeviceStreams>*>; // never freed: used to the end
    thread_local constinit std::map<int, DeviceStreams>* mine = nullptr;
    if (!mine) {
        std::lock_guard hold(lock);
        all.push_back(mine = new std::map<int, DeviceStreams>);
    }
    int device;
    cudaGetDevice(&device);
    return (*mine)[device];
}

void run(CUstream_st& stream, uint64_t until) {
    if (stream.queue.empty() || stream.done >= until) return;
    cusim::DeviceAccess access;
    while (stream.done < until && !stream.queue.empty()) {
        Work work = std::move(stream.queue.front());
        stream.queue.pop_front();
        work();
        ++stream.done;
    }
}

constexpr uint64_t all_of_it = ~0ull;

CUstream_st& resolve(cudaStream_t stream) { return stream ? *stream : device_streams().null; }

// The legacy default stream waits for all others, and they for it.
bool is_legacy(cudaStream_t stream) { return !stream; }

cudaError_t invalidate(cudaStream_t stream) {
    stream->capture->invalid = true;
    return cusim::note_error(cudaErrorStreamCaptureUnsupported);
}

} // namespace

namespace cusim {

StreamOrder stream_order = StreamOrder(setting("CUSIM_STREAMS", {"eager", "lazy", "random"}));

void finish_all_streams() {
    DeviceStreams& streams = device_streams();
    run(streams.null, all_of_it);
    for (cudaStream_t s : streams.others) run(*s, all_of_it);
}

cudaError_t check_not_capturing() {
    for (cudaStream_t s : device_streams().others)
        if (s->capture && s->capture->mode != cudaStreamCaptureModeRelaxed) return invalidate(s);
    return cudaSuccess;
}

void enqueue(cudaStream_t handle, Work work) {
    CUstream_st& stream = resolve(handle);
    if (stream.capture) return stream.capture->nodes.push_back(std::move(work));
    if (is_legacy(handle)) {
        if (check_not_capturing()) return; // as cudaErrorStreamCaptureImplicit on the device
        finish_all_streams();
    }
    stream.queue.push_back(std::move(work));
    ++stream.issued;
    if (is_legacy(handle) || stream_order == StreamOrder::eager) return run(stream, all_of_it);
    if (stream_order == StreamOrder::random)
        for (cudaStream_t s : device_streams().others)
            if (random_numbers()() % 4 == 0) run(*s, s->done + random_numbers()() % 4);
}

} // namespace cusim

using cusim::note_error;

// ---- streams ----------------------------------------------------------------------------------------
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
    device_streams().others.push_back(*stream = new CUstream_st);
    return cudaSuccess;
}
cudaError_t cudaStreamCreate(cudaStream_t* stream) { return cudaStreamCreateWithFlags(stream, 0); }
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    if (stream->capture) return invalidate(stream);
    run(*stream, all_of_it);
    std::erase(device_streams().others, stream);
    delete stream;
    return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    if (resolve(stream).capture) return invalidate(stream);
    if (cudaError_t error = cusim::check_not_capturing()) return error;
    if (is_legacy(stream))
        cusim::finish_all_streams();
    else
        run(*stream, all_of_it);
    return cudaSuccess;
}
cudaError_t cudaDeviceSynchronize() {
    if (cudaError_t error = cusim::check_not_capturing()) return error;
    cusim::finish_all_streams();
    return cudaSuccess;
}

// ---- events -----------------------------------------------------------------------------------------
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
    *event = new CUevent_st;
    (*event)->timing = !(flags & cudaEventDisableTiming);
    return cudaSuccess;
}
cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, 0); }
cudaError_t cudaEventDestroy(cudaEvent_t event) {
    cusim::finish_all_streams(); // work that is queued holds the event
    delete event;
    return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t handle) {
    CUstream_st& stream = resolve(handle);
    event->captured = bool(stream.capture);
    if (event->captured) return cudaSuccess; // an order within the graph, which keeps all of it
    cusim::enqueue(handle, [event] { event->time = std::chrono::steady_clock::now(); });
    event->stream = &stream, event->at = stream.issued;
    return cudaSuccess;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t handle, cudaEvent_t event, unsigned) {
    bool captures = bool(resolve(handle).capture);
    if (captures != event->captured && (captures || event->stream))
        cusim::die(
            "a wait between a captured stream and another; the stand-in captures one stream");
    if (captures || !event->stream) return cudaSuccess;
    cusim::enqueue(handle, [from = event->stream, at = event->at] { run(*from, at); });
    return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
    if (cudaError_t error = cusim::check_not_capturing()) return error;
    if (event->stream) run(*event->stream, event->at);
    return cudaSuccess;
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
    if (cudaError_t error = cusim::check_not_capturing()) return error;
    if (!event->stream || event->stream->done >= event->at) return cudaSuccess;
    run(*event->stream, event->stream->done + 1); // time passes
    return event->stream->done >= event->at ? cudaSuccess : cudaErrorNotReady;
}
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
    for (cudaEvent_t e : {start, end}) {
        if (!e->timing || !e->stream) return note_error(cudaErrorInvalidValue);
        if (e->stream->done < e->at) return note_error(cudaErrorNotReady);
    }
    *milliseconds = std::chrono::duration<float, std::milli>(end->time - start->time).count();
    return cudaSuccess;
}

// ---- graphs -----------------------------------------------------------------------------------------
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
    if (!stream) return note_error(cudaErrorStreamCaptureUnsupported);
    if (stream->capture) return note_error(cudaErrorIllegalState);
    stream->capture.reset(new Capture{mode, {}});
    return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
    *graph = nullptr;
    if (!stream || !stream->capture) return note_error(cudaErrorIllegalState);
    std::unique_ptr<Capture> capture = std::move(stream->capture);
    if (capture->invalid) return note_error(cudaErrorStreamCaptureInvalidated);
    *graph = new CUgraph_st{std::move(capture->nodes)};
    return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
    *exec = new CUgraphExec_st{std::make_shared<const std::vector<Work>>(graph->nodes)};
    return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
    cusim::enqueue(stream, [nodes = exec->nodes] {
        for (const Work& work : *nodes) work();
    });
    return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
    delete graph;
    return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
    delete exec;
    return cudaSuccess;
}
