#include "ops/gemm.h"

#include <dnnl.hpp>
#include <map>
#include <omp.h>
#include <tuple>

namespace {

using dnnl::memory;
using Tag = memory::format_tag;

struct Library {
    dnnl::engine engine{dnnl::engine::kind::cpu, 0};
    dnnl::stream stream{engine};
};
Library& library() {
    static Library instance;
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
    return {library().engine, a, b, c, attributes};
#else
    return {dnnl::matmul::desc(a, b, c), attributes, library().engine};
#endif
}

// The library's choice of a blocked form. Asked for 64 rows, so that it is one form for all.
const memory::desc& packed_desc(int64_t O, int64_t C, DType inputs) {
    static std::map<std::tuple<int64_t, int64_t, DType>, memory::desc> known;
    auto at = known.find({O, C, inputs});
    if (at == known.end()) {
        memory::data_type type = library_type(inputs);
        memory::desc packed = describe({{64, C}, type, Tag::ab}, {{C, O}, type, Tag::any},
                                       {{64, O}, memory::data_type::f32, Tag::ab}, false)
                                  .weights_desc(); // throws where the machine cannot
        // Without AVX-512 it is plain (C, O). Rows that lie a multiple of 1 KiB apart compete for few sets
        // of the cache: one line more between them.
        const int64_t bytes = (int64_t)dtype_bytes(inputs);
        if (packed == memory::desc({C, O}, type, Tag::ab) && O * bytes % 1024 == 0)
            packed = memory::desc({C, O}, type, memory::dims{O + 64 / bytes, 1});
        at = known.emplace(std::tuple(O, C, inputs), packed).first;
    }
    return at->second;
}

// A product of one shape. Making one costs the library about 0.3 ms, so they are kept.
struct Product {
    dnnl::matmul primitive;
    memory a, b, c;
};

using Key = std::tuple<DType, int64_t, int64_t, int64_t, bool, int, bool, int>;

Product make(const Gemm& g) {
    memory::data_type type = library_type(g.inputs);
    memory::desc a({g.M, g.K}, type, g.a_transposed ? Tag::ba : Tag::ab);
    memory::desc b =
        g.b_form == Gemm::packed
            ? packed_desc(g.N, g.K, g.inputs)
            : memory::desc({g.K, g.N}, type, g.b_form == Gemm::transposed ? Tag::ba : Tag::ab);
    memory::desc c({g.M, g.N}, memory::data_type::f32, Tag::ab);
    dnnl::engine& engine = library().engine;
    return {dnnl::matmul(describe(a, b, c, g.accumulate)), memory(a, engine, nullptr),
            memory(b, engine, nullptr), memory(c, engine, nullptr)};
}

// Runs a piece of library code; its exceptions become ours.
template <class F> void guarded(const char* what, DType inputs, const F& piece) {
    try {
        piece();
    } catch (const dnnl::error& error) {
        fail("oneDNN cannot %s in %s on this machine: %s%s", what, dtype_name(inputs), error.what(),
             inputs == DType::bf16 ? "; bf16 needs AVX-512: use compute.gemm=f32" : "");
    }
}

} // namespace

void gemm(const Gemm& g, float* c, const void* a, const void* b) {
    if (g.M == 0 || g.N == 0) return;
    guarded("multiply matrices", g.inputs, [&] {
        static std::map<Key, Product> products;
        Key key(g.inputs, g.M, g.N, g.K, g.a_transposed, g.b_form, g.accumulate,
                omp_get_max_threads());
        auto at = products.find(key);
        if (at == products.end()) {
            if (products.size() >= 4096) products.clear(); // ragged batches: ever new row counts
            at = products.emplace(key, make(g)).first;
        }
        Product& product = at->second;
        product.a.set_data_handle(const_cast<void*>(a));
        product.b.set_data_handle(const_cast<void*>(b));
        product.c.set_data_handle(c);
        product.primitive.execute(
            library().stream,
            {{DNNL_ARG_SRC, product.a}, {DNNL_ARG_WEIGHTS, product.b}, {DNNL_ARG_DST, product.c}});
        library().stream.wait();
    });
}

size_t gemm_packed_bytes(int64_t O, int64_t C, DType inputs) {
    size_t bytes = 0;
    guarded("pack weights", inputs, [&] { bytes = packed_desc(O, C, inputs).get_size(); });
    return bytes;
}

void gemm_pack(void* packed, const void* w, int64_t O, int64_t C, DType inputs) {
    guarded("pack weights", inputs, [&] {
        dnnl::engine& engine = library().engine;
        memory plain({{C, O}, library_type(inputs), Tag::ba}, engine, const_cast<void*>(w));
        memory blocked(packed_desc(O, C, inputs), engine, packed);
        dnnl::reorder(plain, blocked).execute(library().stream, plain, blocked);
        library().stream.wait();
    });
}
