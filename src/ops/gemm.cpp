#include "ops/gemm.h"

#include "ops/install.h"

#include <algorithm>
#include <bit>
#include <dnnl.hpp>
#include <map>
#include <mutex>
#include <omp.h>
#include <tuple>
#include <vector>

namespace {

using dnnl::memory;
using Tag = memory::format_tag;

dnnl::engine& engine() {
    static dnnl::engine instance{dnnl::engine::kind::cpu, 0};
    return instance;
}
// Of the calling thread, as its products are: an op may run on several threads at a time, each with some rows.
dnnl::stream& stream() {
    thread_local dnnl::stream instance{engine()};
    return instance;
}

memory::data_type library_type(DType dtype) {
    return dtype == DType::bf16 ? memory::data_type::bf16 : memory::data_type::f32;
}

dnnl::matmul::primitive_desc describe(const memory::desc& a, const memory::desc& b,
                                      const memory::desc& c, bool accumulate) {
    dnnl::primitive_attr attributes;
    if (accumulate) {
        dnnl::post_ops add_to_c;
        add_to_c.append_sum(1.0f);
        attributes.set_post_ops(add_to_c);
    }
#if DNNL_VERSION_MAJOR >= 3
    return {engine(), a, b, c, attributes};
#else
    return {dnnl::matmul::desc(a, b, c), attributes, engine()};
#endif
}

// What the library multiplies inputs of this type in. Without AVX-512 it has no bf16: the product of two such
// numbers is exact in f32, where the sums are kept in either case, so its f32 product computes the same.
DType multiplied_in(DType inputs) {
    static const bool has_bf16 = [] {
        try {
            const auto bf16 = memory::data_type::bf16;
            describe({{64, 64}, bf16, Tag::ab}, {{64, 64}, bf16, Tag::ab},
                     {{64, 64}, memory::data_type::f32, Tag::ab}, false);
            return true;
        } catch (const dnnl::error&) {
            return false;
        }
    }();
    return inputs == DType::bf16 && !has_bf16 ? DType::f32 : inputs;
}

const float* widened(cpu::Slot slot, const void* bf16, int64_t size) {
    float* to = static_cast<float*>(cpu::scratch(slot, size * sizeof(float)));
    const uint16_t* from = static_cast<const uint16_t*>(bf16);
#pragma omp parallel for simd schedule(static) if (size > 1 << 14)
    for (int64_t i = 0; i < size; ++i) to[i] = std::bit_cast<float>((uint32_t)from[i] << 16);
    return to;
}

// y (N, O) = x (N, C) w^T as a convolution: rows are the pixels of an image one high, columns its channels.
dnnl::convolution_forward::primitive_desc describe_convolution(int64_t N, int64_t O, int64_t C,
                                                               const memory::desc& w) {
    const memory::desc x({1, C, 1, N}, memory::data_type::f32, Tag::nhwc),
        y({1, O, 1, N}, memory::data_type::f32, Tag::nhwc);
    const auto kind = dnnl::prop_kind::forward_inference;
    const auto direct = dnnl::algorithm::convolution_direct;
#if DNNL_VERSION_MAJOR >= 3
    return {engine(), kind, direct, x, w, y, {1, 1}, {0, 0}, {0, 0}};
#else
    return {{kind, direct, x, w, y, {1, 1}, {0, 0}, {0, 0}}, engine()};
#endif
}

struct PackedForm {
    memory::desc plain, blocked; // of the same weight
    bool convolution = false;
};

// The library's choice of a blocked form. Asked for 64 rows, so that it is one form for all. Without AVX-512 its
// matrix product in f32 has none: it copies the weight into blocks at every call, and the order of a row's sums
// depends on the number of rows. Its 1 x 1 convolution does the same product from a weight that was blocked once,
// 1.2 times as fast with 32 rows, and gives a row the same bits in any batch.
const PackedForm& packed_form(int64_t O, int64_t C, DType inputs) {
    static std::map<std::tuple<int64_t, int64_t, DType>, PackedForm> known;
    static std::mutex one_at_a_time;
    const std::lock_guard lock(one_at_a_time);
    auto at = known.find({O, C, inputs});
    if (at == known.end()) {
        const memory::data_type type = library_type(inputs);
        const memory::desc rows({C, O}, type, Tag::ab);
        PackedForm form = {{{C, O}, type, Tag::ba}, {}, false};
        form.blocked = describe({{64, C}, type, Tag::ab}, {{C, O}, type, Tag::any},
                                {{64, O}, memory::data_type::f32, Tag::ab}, false)
                           .weights_desc(); // throws where the machine cannot
        if (form.blocked == rows && inputs == DType::f32) {
            const memory::desc any({O, C, 1, 1}, type, Tag::any);
            const memory::desc blocked = describe_convolution(64, O, C, any).weights_desc();
            const memory::desc plain({O, C, 1, 1}, type, Tag::oihw);
            if (blocked != plain) form = {plain, blocked, true};
        }
        at = known.emplace(std::tuple(O, C, inputs), form).first;
    }
    return at->second;
}

// A product of one shape, or some columns of it. Making one costs the library about 0.3 ms, so they are kept.
struct Product {
    dnnl::primitive primitive;
    memory a, b, c;
    int64_t first = 0, columns = 0; // of c
    size_t weight_at = 0;           // bytes before its part of a packed weight
    void run(float* to, const void* from, const void* weight) {
        a.set_data_handle(const_cast<void*>(from));
        b.set_data_handle((char*)weight + weight_at);
        c.set_data_handle(to);
        primitive.execute(stream(), {{DNNL_ARG_SRC, a}, {DNNL_ARG_WEIGHTS, b}, {DNNL_ARG_DST, c}});
        stream().wait();
    }
};

using Key = std::tuple<DType, int64_t, int64_t, int64_t, bool, int, bool, int>;

// With few rows the library gives each thread some of them, and each reads the whole weight; from 1 MiB of it on
// threads of ours with some columns each are 1.1 to 1.3 times as fast.
std::vector<Product> make_convolution(const Gemm& g) {
    const memory::desc& blocked = packed_form(g.N, g.K, g.inputs).blocked;
    auto weight = [&](int64_t O) {
        return memory::desc({O, g.K, 1, 1}, memory::data_type::f32, Tag::OIhw8i8o);
    };
    const int threads = omp_get_max_threads();
    const bool cut = threads > 1 && g.M <= 64 && g.N * g.K >= 1 << 18 && g.N >= 64 * threads &&
                     blocked == weight(g.N);
    std::vector<Product> parts;
    size_t weight_at = 0;
    const int count = cut ? threads : 1;
    if (cut) omp_set_num_threads(1); // what the library plans for a part
    for (int part = 0; part < count; ++part) {
        const int64_t first = g.N / 8 * part / count * 8;
        const int64_t last = part + 1 < count ? g.N / 8 * (part + 1) / count * 8 : g.N;
        auto product =
            describe_convolution(g.M, last - first, g.K, cut ? weight(last - first) : blocked);
        auto empty = [](const memory::desc& desc) { return memory(desc, engine(), nullptr); };
        parts.push_back({dnnl::convolution_forward(product), empty(product.src_desc()),
                         empty(product.weights_desc()), empty(product.dst_desc()), first,
                         last - first, weight_at});
        weight_at += product.weights_desc().get_size();
    }
    omp_set_num_threads(threads);
    return parts;
}

std::vector<Product> make(const Gemm& g) {
    if (g.b_form == Gemm::packed && packed_form(g.N, g.K, g.inputs).convolution) {
        CHECK(!g.a_transposed && !g.accumulate, "a product with a packed weight is a plain one");
        return make_convolution(g);
    }
    memory::data_type type = library_type(g.inputs);
    memory::desc a({g.M, g.K}, type, g.a_transposed ? Tag::ba : Tag::ab);
    memory::desc b =
        g.b_form == Gemm::packed
            ? packed_form(g.N, g.K, g.inputs).blocked
            : memory::desc({g.K, g.N}, type, g.b_form == Gemm::transposed ? Tag::ba : Tag::ab);
    memory::desc c({g.M, g.N}, memory::data_type::f32, Tag::ab);
    return {{dnnl::matmul(describe(a, b, c, g.accumulate)), memory(a, engine(), nullptr),
             memory(b, engine(), nullptr), memory(c, engine(), nullptr), 0, g.N, 0}};
}

// Each part by a thread, in memory of its own, and then to its columns of c.
void run_parts(std::vector<Product>& parts, const Gemm& g, float* c, const void* a, const void* b) {
#pragma omp parallel num_threads((int)parts.size())
    {
        for (size_t p = omp_get_thread_num(); p < parts.size(); p += omp_get_num_threads()) {
            Product& part = parts[p];
            float* own = static_cast<float*>(
                cpu::scratch(cpu::Slot::gemm_c, g.M * part.columns * sizeof(float)));
            part.run(own, a, b);
            for (int64_t n = 0; n < g.M; ++n)
                std::copy_n(own + n * part.columns, part.columns, c + n * g.N + part.first);
        }
    }
}

// Runs a piece of library code; its exceptions become ours.
template <class F> void guarded(const char* what, DType inputs, const F& piece) {
    try {
        piece();
    } catch (const dnnl::error& error) {
        fail("oneDNN cannot %s in %s on this machine: %s", what, dtype_name(inputs), error.what());
    }
}

} // namespace

void gemm(const Gemm& g, float* c, const void* a, const void* b) {
    if (g.M == 0 || g.N == 0) return;
    if (multiplied_in(g.inputs) != g.inputs) {
        Gemm wide = g;
        wide.inputs = DType::f32;
        const bool packed = g.b_form == Gemm::packed; // wide already
        return gemm(wide, c, widened(cpu::Slot::wide_a, a, g.M * g.K),
                    packed ? b : widened(cpu::Slot::wide_b, b, g.N * g.K));
    }
    guarded("multiply matrices", g.inputs, [&] {
        thread_local std::map<Key, std::vector<Product>> products;
        Key key(g.inputs, g.M, g.N, g.K, g.a_transposed, g.b_form, g.accumulate,
                omp_get_max_threads());
        auto at = products.find(key);
        if (at == products.end()) {
            if (products.size() >= 4096) products.clear(); // ragged batches: ever new row counts
            at = products.emplace(key, make(g)).first;
        }
        std::vector<Product>& parts = at->second;
        if (parts.size() > 1) return run_parts(parts, g, c, a, b);
        parts[0].run(c, a, b);
    });
}

size_t gemm_packed_bytes(int64_t O, int64_t C, DType inputs) {
    size_t bytes = 0;
    guarded("pack weights", inputs,
            [&] { bytes = packed_form(O, C, multiplied_in(inputs)).blocked.get_size(); });
    return bytes;
}

bool gemm_needs_packed(int64_t O, int64_t C, DType inputs) {
    bool needed = false;
    guarded("pack weights", inputs,
            [&] { needed = packed_form(O, C, multiplied_in(inputs)).convolution; });
    return needed;
}

void gemm_pack(void* packed, const void* w, int64_t O, int64_t C, DType inputs) {
    guarded("pack weights", inputs, [&] {
        const PackedForm& form = packed_form(O, C, multiplied_in(inputs));
        if (multiplied_in(inputs) != inputs) w = widened(cpu::Slot::wide_b, w, O * C);
        memory plain(form.plain, engine(), const_cast<void*>(w));
        memory blocked(form.blocked, engine(), packed);
        dnnl::reorder(plain, blocked).execute(stream(), plain, blocked);
        stream().wait();
    });
}
