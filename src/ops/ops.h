#pragma once
// Every op of the program, declared once: equation, shapes, and what backward accumulates. A backend
// is a filled table: cpu_ops(f32), cpu_ops(f64), and on a GPU gpu_ops(f32), gpu_ops(bf16).
//
// Rules for every op
// - Argument order: outputs, saved, inputs, constants. Shapes are checked, always.
// - Forward writes (=). Backward adds to a gradient (+=) or writes it (=), as its owner says (Gradient);
//   two work in place, and say so.
// - Tensors are device memory: no op looks at their values on the host, none allocates in a step.
// - An empty Tensor is an argument that is not given, where the comment says so.
// - On the CPU a row's result does not depend on the other rows of the call, bit for bit:
//   one order of accumulation whatever the batch, attention over key blocks counted from the
//   sequence's first token. So decoding with a cache gives the bits of the training forward.
//
// Sizes: N tokens of a ragged batch (all sequences one after another), S sequences, C channels, H query
// heads, K key/value heads (H = K * group), D head width, F feed-forward width, V vocabulary,
// B sequences being decoded, R listed rows. ids and indices are i32; the rest is the table's dtype, save
// what adamw and sumsq say, and in the table of gpu_ops(bf16):
//   bf16  weights, biases and norm weights; activations and their gradients, logits, key/value cache
//   f32   a row's statistics and results with their gradients (s, lse, logp, entropy, dlogp, dentropy,
//         uniform), the rope table, gradients of weights, biases and norm weights (dw, dbias, dwq, ...),
//         and y and dy of a linear with few outputs that are results (the value of a row)
// Reductions accumulate in f32, in a fixed order.

#include "base/tensor.h"

#include <concepts>

// A weight matrix (O, C) as GEMMs read it. `w` is what the optimiser updates. The other two forms are
// refreshed by refresh_weight after each update, and are empty where the backend has no use for them.
struct Weight {
    Tensor w;    // (O, C)
    Tensor copy; // (O, C) bf16: w rounded, for compute.gemm=bf16
    // The GEMM library's own blocked form, fastest for few rows; the shape is the library's.
    Tensor packed;
};

// Where backward leaves a gradient: added to what is there, or, `written`, in place of it. A sum's first
// term is written: then nobody has zeroed the memory before, and nobody reads it.
struct Gradient {
    Tensor to;
    bool add = true;
    Gradient() = default;
    template <class T>
    requires std::convertible_to<T, Tensor> Gradient(const T& to_, bool add_ = true)
        : to(to_), add(add_) {}
    explicit operator bool() const { return (bool)to; }
};
inline Gradient written(Tensor x) { return {x, false}; }

// Where the sequences of a ragged batch lie. Sequence s owns rows begin[s] .. begin[s+1]-1.
struct Ragged {
    int sequences = 0;  // S
    int max_length = 0; // longest sequence, its parent's rows included
    Tensor begin;       // (S+1) i32
    // (S) i32: the first prefix[s] tokens of a sequence see each other in both directions; 0: causal.
    Tensor prefix;
    // (S) i32: the sequence whose rows come before this one's own (a prompt that several completions
    // share), or -1. A parent has no parent itself and stands before its children. Empty: none.
    Tensor parent;
    // (N) i32: 0-based position of every row in its sequence, the parent's rows counted.
    Tensor position;
    // (N) i32: the row of the tensors that holds row n of this order, where they stand in another one (a
    // recorded rollout's); position is in the tensors' order. Empty: row n. On the CPU only.
    Tensor row;
};

// Keys and values of sequences being decoded, in pages of `page` tokens. A sequence is a list of pages,
// so samples of one prompt share the prompt's full pages. The order inside a page is the backend's.
struct KvCache {
    Tensor k, v; // (pages, K, page, D)
    int page = 64;
};

struct SampleOptions {
    double temperature = 1; // 0: greedy
    int top_k = 0;          // 0: off
    double top_p = 1, min_p = 0;
};

struct Ops {
    DType dtype; // of weights, activations and gradients

    // ---- memory -------------------------------------------------------------------------------
    void* (*alloc)(size_t bytes); // zeroed; null when there is not enough
    void (*free)(void* memory);
    void (*upload)(Tensor device, const void* host); // tensor.bytes() bytes
    void (*download)(void* host, Tensor device);     // waits for what was launched before
    void (*fill_zero)(Tensor x);
    void (*copy)(Tensor y, Tensor x);
    // Returns when all that was launched has run. Null where ops run when they are called.
    void (*wait)();
    // A point between what was launched before and what is launched after; seconds_between waits for both
    // of two points and ends them. Null where wait is.
    void* (*mark)();
    double (*seconds_between)(void* from, void* to);
    // What is launched between begin and end is recorded instead of run, and launched as often as wanted:
    // a decode step is hundreds of small launches, a graph is one. Null where there are no launches.
    // Nothing may be allocated, uploaded or downloaded while recording.
    void (*graph_begin)();
    void* (*graph_end)();
    void (*graph_launch)(void* graph);
    void (*graph_free)(void* graph);

    // ---- embedding and listed rows ------------------------------------------------------------
    // y_n = w[ids_n]                                     y: (N, C)   w: (V, C)   ids: (N)
    void (*embedding_forward)(Tensor y, Tensor w, Tensor ids);
    // dw[ids_n] += dy_n
    void (*embedding_backward)(Tensor dw, Tensor dy, Tensor ids);
    // y_r = x[rows_r]                                    y: (R, C)   x: (N, C)   rows: (R)
    void (*gather_rows)(Tensor y, Tensor x, Tensor rows);
    // dx[rows_r] += dy_r; the rows are distinct
    void (*scatter_rows)(Tensor dx, Tensor dy, Tensor rows);
    // x_r = x[rows_r] in place, for increasing rows        x: (N, C)   rows: (R).   Null on a GPU.
    void (*compact_rows)(Tensor x, Tensor rows);

    // ---- linear --------------------------------------------------------------------------------
    // y = x w^T + bias         y: (N, O)   x: (N, C)   w: (O, C)   bias: (O) or empty
    void (*linear_forward)(Tensor y, Tensor x, const Weight& w, Tensor bias);
    // dx += dy w (dx may be empty)   dw += dy^T x   dbias_o += sum_n dy_no (dbias may be empty)
    void (*linear_backward)(Gradient dx, Gradient dw, Gradient dbias, Tensor dy, Tensor x,
                            const Weight& w);
    // Bytes that `packed` needs for an (O, C) weight; 0: the backend has no packed form.
    size_t (*packed_bytes)(int64_t O, int64_t C, DType gemm);
    // Brings copy and packed (those that are not empty) up to date with w.
    void (*refresh_weight)(const Weight& w);

    // ---- norms ---------------------------------------------------------------------------------
    // RMSNorm [Zhang & Sennrich 2019, eq. 4].   y, x: (N, C)   w: (C)   s: (N)
    //   s_n = (1/C sum_c x_nc^2 + eps)^(-1/2)          y_nc = w_c x_nc s_n
    void (*rmsnorm_forward)(Tensor y, Tensor s, Tensor x, Tensor w, double eps);
    //   dw_c  += sum_n dy_nc x_nc s_n
    //   dx_nc += s_n (g_nc - x_nc s_n^2 <g_n, x_n> / C)   with g_nc = w_c dy_nc
    void (*rmsnorm_backward)(Gradient dx, Gradient dw, Tensor s, Tensor dy, Tensor x, Tensor w);
    // The residual stream takes a branch in and is normalised for the next:  z = x + delta, then y, s
    // of z as above. Backward: dz is rmsnorm_backward's dx added to what dz already holds, and goes on
    // to both x and delta.
    void (*residual_rmsnorm_forward)(Tensor z, Tensor y, Tensor s, Tensor x, Tensor delta, Tensor w,
                                     double eps);
    // z = x + delta, all (N, C)
    void (*residual_forward)(Tensor z, Tensor x, Tensor delta);
    // dx += dy, all of one shape
    void (*add)(Tensor dx, Tensor dy);
    // Qwen3's norm of each query and key head; the values pass unchanged.
    //   y, x: (N, (H+2K) D)   s: (N, H+K)   wq, wk: (D)
    void (*head_norm_forward)(Tensor y, Tensor s, Tensor x, Tensor wq, Tensor wk, int H, int K,
                              double eps);
    void (*head_norm_backward)(Gradient dx, Gradient dwq, Gradient dwk, Tensor s, Tensor dy,
                               Tensor x, Tensor wq, Tensor wk, int H, int K);

    // ---- rope ----------------------------------------------------------------------------------
    // Rotates query and key heads in place [Su et al. 2021, section 3.4.2], halves as Hugging Face pairs
    // them: with a = position * inv_freq_i,
    //   (x_i, x_{i+D/2}) = (x_i cos a - x_{i+D/2} sin a,  x_{i+D/2} cos a + x_i sin a),  i < D/2.
    //   qkv: (N, (H+2K) D)   position: (N)   table: (positions, D): cos of the D/2 angles, then sin
    void (*rope_forward)(Tensor qkv, Tensor position, Tensor table, int H, int K);
    // The inverse rotation of dqkv, in place: a rotation's transpose.
    void (*rope_backward)(Tensor dqkv, Tensor position, Tensor table, int H, int K);

    // ---- attention -----------------------------------------------------------------------------
    // Softmax attention over the sequence, tiled with an online softmax [Dao 2023, algorithm 1]: memory
    // is linear in length. Query head h reads key/value head h / (H/K).
    //   S_ij = scale <q_i, k_j> for the keys j that i may see      P = softmax over j      y_i = P V
    //   y: (N, H D)   lse: (N, H), log of the sum of exp S   qkv: (N, (H+2K) D), rope applied
    void (*attention_forward)(Tensor y, Tensor lse, Tensor qkv, const Ragged& ragged, int H, int K,
                              double scale);
    // Recomputes P from lse. With d_i = <dy_i, y_i>:  dS_ij = P_ij (<dy_i, v_j> - d_i),
    //   dq_i += scale sum_j dS_ij k_j     dk_j += scale sum_i dS_ij q_i     dv_j += sum_i P_ij dy_i
    void (*attention_backward)(Gradient dqkv, Tensor dy, Tensor y, Tensor lse, Tensor qkv,
                               const Ragged& ragged, int H, int K, double scale);
    // Puts keys and values of N rows into the cache: row n goes to slot[n] = page * cache.page + place.
    //   slot: (N) i32, -1 leaves the row out
    void (*kv_write)(KvCache& cache, Tensor qkv, Tensor slot, int H, int K);
    // Copies `count` whole pages: page to[i] = page from[i] (a shared prompt's last, half-full page).
    void (*kv_copy)(KvCache& cache, Tensor to, Tensor from, int count);
    // One new token for each of B sequences, its own key already in the cache.
    //   y: (B, H D)   lse: (B, H), as attention_forward's, or empty (on a GPU always)
    //   qkv: (B, (H+2K) D)   pages: (B, max_pages) i32   length: (B) i32, own token counted
    void (*decode_attention)(Tensor y, Tensor lse, Tensor qkv, const KvCache& cache, Tensor pages,
                             Tensor length, int H, int K, double scale);

    // ---- feed-forward --------------------------------------------------------------------------
    // SwiGLU [Shazeer 2020].  y_nf = silu(g_nf) u_nf,  silu(g) = g / (1 + exp(-g))
    //   y: (N, F)   gate_up: (N, 2F), gate first
    void (*swiglu_forward)(Tensor y, Tensor gate_up);
    void (*swiglu_backward)(Gradient dgate_up, Tensor dy, Tensor gate_up);

    // ---- the hinge between network and loss ----------------------------------------------------
    // For one chunk of logits z (R, V) and temperature T, with p = softmax(z / T):
    //   lse_r = log sum_v exp(z_rv / T)     logp_r = z_r,target / T - lse_r
    //   entropy_r = lse_r - sum_v p_rv z_rv / T           (entropy may be empty)
    // target: (R) i32. logp, entropy, lse: (R).
    void (*token_logprob_forward)(Tensor logp, Tensor entropy, Tensor lse, Tensor logits,
                                  Tensor target, double temperature);
    // Overwrites logits by their gradient, in place (the chunk is scratch):
    //   dz_rv = (dlogp_r ([v = target_r] - p_rv) - dentropy_r p_rv (log p_rv + entropy_r)) / T
    // dentropy and entropy may both be empty.
    void (*token_logprob_backward)(Tensor logits, Tensor dlogp, Tensor dentropy, Tensor entropy,
                                   Tensor lse, Tensor target, double temperature);
    // Draws a token per row by inverting the CDF at uniform_b in (0, 1), over the tokens left by top-k,
    // then top-p, then min-p (all measured on the tempered distribution, as transformers does);
    // temperature 0 takes the first largest. logp: of the tempered distribution before the cuts, and of
    // the untempered one when greedy; entropy (may be empty): of the same. The bits of
    // token_logprob_forward.
    //   token: (B) i32   logp, entropy: (B)   logits: (B, V), overwritten   uniform: (B)
    //   barred: (E) i32, distinct ids that may not be drawn where bar: (B) i32 is 1; both may be empty
    void (*sample)(Tensor token, Tensor logp, Tensor entropy, Tensor logits, Tensor uniform,
                   Tensor barred, Tensor bar, const SampleOptions& options);

    // ---- optimiser -----------------------------------------------------------------------------
    // AdamW [Loshchilov & Hutter 2019, algorithm 2], step t counted from 1, g scaled by grad_scale:
    //   m = beta1 m + (1-beta1) g     v = beta2 v + (1-beta2) g^2
    //   p -= lr (m / (1-beta1^t) / (sqrt(v / (1-beta2^t)) + eps) + weight_decay p)
    // In a bf16 table p, m, v and g are f32, and `rounded` is the weight that the network reads: it is
    // written with p. Elsewhere the network reads p, and `rounded` is empty.
    void (*adamw)(Tensor p, Tensor rounded, Tensor m, Tensor v, Tensor g, double grad_scale,
                  double lr, double beta1, double beta2, double eps, double weight_decay,
                  int64_t t);
    // out: (1) f64.  out += sum_i x_i^2, in a fixed order   x: of gradients, so f32 in a bf16 table
    void (*sumsq)(Tensor out, Tensor x);

    // ---- few rows ------------------------------------------------------------------------------
    // A decode step of few rows reads weights and waits for launches, little else: each of these does what
    // stands in brackets in one launch. For up to few_rows rows, C, O and F multiples of 8 and D of 16; 0
    // rows where the backend has none of them (the CPU; in f32 on a GPU).
    int64_t few_rows;
    // y = W norm(x)                        [rmsnorm_forward, linear_forward]
    void (*norm_linear)(Tensor y, Tensor x, Tensor norm, const Weight& w, double eps);
    // qkv = rope(W norm(x) + bias)         [.., linear_forward, rope_write]
    void (*norm_qkv)(Tensor qkv, KvCache& cache, Tensor x, Tensor norm, const Weight& w,
                     Tensor bias, Tensor position, Tensor table, Tensor slot, int H, int K,
                     double eps);
    // y = swiglu(W norm(x))                [.., linear_forward, swiglu_forward]
    void (*norm_swiglu)(Tensor y, Tensor x, Tensor norm, const Weight& w, double eps);
    // z = x + W y                          [linear_forward, residual_forward]
    void (*linear_residual)(Tensor z, Tensor x, Tensor y, const Weight& w);

    // A decode step's queries, keys and values: rope_forward, then kv_write. Of qkv the queries alone are
    // turned, the keys go to the cache. Null on the CPU.
    void (*rope_write)(KvCache& cache, Tensor qkv, Tensor position, Tensor table, Tensor slot,
                       int H, int K);
};

// gemm: bf16 rounds GEMM inputs to bf16 and accumulates in f32 (dtype f32 only).
const Ops& cpu_ops(DType dtype, DType gemm = DType::f32);

// f32 or bf16, on the calling thread's device (gpu.h).
const Ops& gpu_ops(DType dtype);

// Whether GEMMs on this machine give a row the same bits in any batch (checked once, by running them).
bool cpu_gemm_is_batch_invariant(DType gemm);
