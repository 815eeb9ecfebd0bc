#include "rollout/engine.h"

#include "base/rng.h"
#include "ops/gpu.h"
#include "ops/shares.h"
#include "ops/values.h"

#include <algorithm>
#include <cmath>
#include <omp.h>
#include <unistd.h>

// ---- memory -------------------------------------------------------------------------------------

constexpr size_t cache_bytes_per_core = 4 << 20;

// Whether weights that were read once are still in the caches at the next step.
static bool stays_in_caches(const Model& model) {
    return !model.compute.gpu &&
           model.weights.capacity <= (size_t)omp_get_max_threads() * cache_bytes_per_core;
}

Engine::Engine(const Model& model_, int batch_, int longest_prompt, int new_tokens,
               int64_t prompt_tokens, Recording* recording_)
    : model(model_), recording(recording_), batch(batch_), page_size(KvCache().page),
      max_pages(pages_for(std::min(model.config.max_positions, longest_prompt + new_tokens))),
      pages(batch * max_pages + pages_for(longest_prompt)),
      prefill_tokens((int)std::max<int64_t>(std::min<int64_t>(most_prefill_tokens, prompt_tokens),
                                            longest_prompt)),
      by_threads(!model.compute.ops && stays_in_caches(model)), pool(pages) {
    layout();
}

void Engine::allocate() {
    prefill.emplace(model, prefill_tokens, prefill_tokens, false);
    arena.allocate(model.ops->alloc, model.ops->free);
    layout();
    if (!model.config.eos.empty()) model.ops->upload(barred, model.config.eos.data());
}

Engine::~Engine() {
    for (auto& [rows, graph] : graphs) model.ops->graph_free(graph);
}

void Engine::layout() {
    const ModelConfig& m = model.config;
    const DType dtype = model.compute.dtype;
    auto take = [&](const char* name, int64_t width) {
        return arena.take(name, dtype, {batch, width});
    };
    auto take_rows = [&](const char* name) { return arena.take(name, wide_dtype(dtype), {batch}); };
    auto take_ids = [&](const char* name, int64_t count) {
        return arena.take(name, DType::i32, {count});
    };
    cache.resize(m.L);
    for (KvCache& layer : cache) {
        layer.k = arena.take("cache.k", dtype, {pages, m.K, layer.page, m.D});
        layer.v = arena.take("cache.v", dtype, {pages, m.K, layer.page, m.D});
    }
    each_act(acts, m, [&](const char* name, Tensor& x, int64_t width, bool statistic) {
        const DType type = statistic ? wide_dtype(dtype) : dtype;
        x = width ? arena.take(name, type, {batch, width}) : arena.take(name, type, {batch});
    });
    branch = take("branch", m.C);
    hidden = take("hidden", m.C);
    prompt_hidden = arena.take("prompt_hidden", dtype, {batch + 1, m.C});
    row_y = take("row_y", m.C);
    row_s = take_rows("row_s");
    logits = take("logits", m.V);
    drawn = arena.take("drawn", wide_dtype(dtype), {3, batch});
    uniform = take_rows("uniform");
    bar = take_ids("bar", batch);
    step = take_ids("step", (int64_t)batch * (4 + max_pages));
    list = take_ids("list", batch);
    copy_to = take_ids("copy_to", batch);
    copy_from = take_ids("copy_from", batch);
    barred = take_ids("barred", std::max<int64_t>(1, (int64_t)m.eos.size()));
    prompt_slot = take_ids("prompt_slot", prefill_tokens);
}

size_t engine_bytes(const Engine& engine) {
    return engine.arena.high_water +
           pass_bytes(engine.model, engine.prefill_tokens, engine.prefill_tokens, false);
}

size_t generation_bytes(const Model& model, int batch, int prompt_tokens, int new_tokens) {
    return engine_bytes(Engine(model, batch, prompt_tokens, new_tokens));
}

size_t cache_bytes(const Model& model, int batch, int prompt_tokens, int new_tokens) {
    const Engine engine(model, batch, prompt_tokens, new_tokens);
    size_t bytes = 0;
    for (const KvCache& layer : engine.cache) bytes += layer.k.bytes() + layer.v.bytes();
    return bytes;
}

// What was asked for, within a quarter of the machine's memory, or nine tenths of what the GPU has
// left. A model whose weights stay in the caches gains nothing from more rows than a product needs,
// so that its keys and values stay there, too. (The weights of a larger one come from memory at
// every step, the more rarely the more sequences there are.)
int fitting_batch(const Model& model, int64_t wanted, int longest_prompt, int new_tokens) {
    if (model.compute.ops) return (int)wanted; // counted, not computed: it takes no memory
    if (stays_in_caches(model)) {
        const double caches = (double)cache_bytes_per_core * omp_get_max_threads();
        const size_t keys = cache_bytes(model, 2, longest_prompt, new_tokens) -
                            cache_bytes(model, 1, longest_prompt, new_tokens);
        wanted = std::min(wanted, std::max<int64_t>(32, (int64_t)(caches / (double)keys)));
    }
    const double memory = model.compute.gpu
                              ? 0.9 * gpu_info().free_bytes
                              : (double)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE) / 4;
    auto bytes = [&](int batch) {
        return (double)engine_bytes(Engine(model, batch, longest_prompt, new_tokens));
    };
    const double one = bytes(1), each = bytes(2) - one;
    return (int)std::max(1.0, std::min((double)wanted, 1 + (memory - one) / each));
}

// ---- prompts ------------------------------------------------------------------------------------

static void compute_together(Engine& engine, std::span<const CachedPrompt> prompts,
                             const std::vector<std::vector<int32_t>>& texts,
                             const std::vector<int>& prefixes) {
    const Ops& ops = *engine.model.ops;
    const ModelConfig& m = engine.model.config;
    const int page_size = engine.page_size, count = (int)prompts.size();
    HostBatch batch;
    std::vector<int32_t> slots, last_rows;
    for (const CachedPrompt& prompt : prompts) {
        batch.add(texts[prompt.index].data(), prompt.length,
                  prefixes.empty() ? 0 : prefixes[prompt.index]);
        for (int t = 0; t < prompt.length; ++t)
            slots.push_back(prompt.pages[t / page_size] * page_size + t % page_size);
        last_rows.push_back(batch.tokens() - 1);
    }
    Tensor where = engine.prompt_slot.rows(0, batch.tokens());
    ops.upload(where, slots.data());

    int recorded = engine.recording ? engine.recording->rows : 0;
    const TrunkRows rows = next_rows(engine.recording, batch.tokens());
    const bool records = !rows.layer.empty();
    forward(*engine.prefill, batch, records ? &rows : nullptr,
            [&](int l, Tensor qkv) { ops.kv_write(engine.cache[l], qkv, where, m.H, m.K); });
    for (const CachedPrompt& prompt : prompts)
        if (records) {
            engine.recording->prompt[prompt.index] = recorded;
            recorded += prompt.length;
        }

    Tensor list = engine.list.rows(0, count);
    ops.upload(list, last_rows.data());
    ops.gather_rows(engine.prompt_hidden.rows(prompts[0].hidden_row, count),
                    records ? rows.hidden : engine.prefill->hidden, list);
}

void compute_prompts(Engine& engine, std::span<const CachedPrompt> fresh,
                     const std::vector<std::vector<int32_t>>& texts,
                     const std::vector<int>& prefixes) {
    for (size_t first = 0, last; first < fresh.size(); first = last) {
        int tokens = fresh[first].length;
        for (last = first + 1; last < fresh.size(); ++last) {
            if (tokens + fresh[last].length > most_prefill_tokens) break;
            tokens += fresh[last].length;
        }
        compute_together(engine, fresh.subspan(first, last - first), texts, prefixes);
    }
}

// ---- decode -------------------------------------------------------------------------------------

// The lists of a step of so many rows.
static CacheStep step_of(const Engine& engine, int64_t rows) {
    auto list = [&](int i) { return engine.step.elements(i * rows, rows); };
    return {list(0), list(1), list(2), list(3),
            engine.step.elements(4 * rows, rows * engine.max_pages).view({rows, engine.max_pages})};
}

// All layers for `rows` tokens, whose step was uploaded.
static void decode_layers(Engine& engine, int rows, const TrunkRows& to) {
    const ModelConfig& m = engine.model.config;
    const CacheStep all = step_of(engine, rows);
    for_shares(engine.by_threads, rows, [&](int first, int count) {
        auto of = [&](const Tensor& x) { return x.rows(first, count); };
        TrunkRows own = {{}, of(to.hidden)};
        for (const LayerActs& acts : to.layer) own.layer.push_back(acts.rows(m, first, count));
        trunk_decode(engine.model, own, of(engine.branch),
                     {of(all.ids), of(all.position), of(all.slot), of(all.length), of(all.pages)},
                     engine.cache);
    });
}

// The engine's own activations: all layers in the same memory.
static TrunkRows own_rows(const Engine& engine, int count, Tensor hidden) {
    const ModelConfig& m = engine.model.config;
    return {std::vector<LayerActs>(m.L, engine.acts.rows(m, 0, count)), hidden.rows(0, count)};
}

// Token, position, slot and pages of the samples' next step, `rows` >= B of them; takes pages that
// it needs.
static void upload_step(Engine& engine, std::vector<ActiveSample>& samples, int B, int rows) {
    const int page_size = engine.page_size;
    std::vector<int32_t> step((size_t)rows * (4 + engine.max_pages), 0);
    int32_t *ids = step.data(), *position = ids + rows, *slot = position + rows,
            *length = slot + rows, *pages = length + rows;
    for (int b = 0; b < B; ++b) {
        ActiveSample& sample = samples[b];
        if (sample.length % page_size == 0) sample.pages.push_back(engine.pool.take());
        ids[b] = sample.out->ids.back();
        position[b] = sample.length;
        slot[b] = sample.pages.back() * page_size + sample.length % page_size;
        length[b] = ++sample.length;
        std::copy(sample.pages.begin(), sample.pages.end(), pages + (size_t)b * engine.max_pages);
    }
    for (int b = B; b < rows; ++b) slot[b] = -1, length[b] = 1;
    engine.model.ops->upload(engine.step.elements(0, (int64_t)step.size()), step.data());
}

// Into the recording, if there is one and it has room.
static void decode_and_record(Engine& engine, std::vector<ActiveSample>& samples, int B) {
    upload_step(engine, samples, B, B);
    const int recorded = engine.recording ? engine.recording->rows : 0;
    const TrunkRows to = next_rows(engine.recording, B);
    if (to.layer.empty()) return decode_layers(engine, B, own_rows(engine, B, engine.hidden));
    for (int b = 0; b < B; ++b) {
        samples[b].row = recorded + b;
        engine.recording->input[samples[b].completion].push_back(recorded + b);
    }
    decode_layers(engine, B, to);
    engine.model.ops->copy(engine.hidden.rows(0, B), to.hidden);
}

// Rows of a graph for B sequences: few sizes, so that few graphs are made.
static int bucket(int B, int batch) {
    int rows = 1;
    while (rows < B && rows < 8) rows *= 2;
    if (B > 8) rows = (B + 7) / 8 * 8;
    return std::min(rows, batch);
}

// Where ops are launched, a step is recorded once per number of rows and launched as one; rows
// beyond B then write to no slot, read one key of page 0, and nobody reads what comes out.
static void decode_by_graph(Engine& engine, std::vector<ActiveSample>& samples, int B) {
    const Ops& ops = *engine.model.ops;
    const int rows = bucket(B, engine.batch);
    upload_step(engine, samples, B, rows);
    auto [graph, fresh] = engine.graphs.try_emplace(rows, nullptr);
    if (fresh) {
        // Run once before it is recorded: what an op takes at its first call (scratch, a GEMM's
        // plan) may not be taken while recording. It writes the same keys to the same slots.
        decode_layers(engine, rows, own_rows(engine, rows, engine.hidden));
        ops.graph_begin();
        decode_layers(engine, rows, own_rows(engine, rows, engine.hidden));
        graph->second = ops.graph_end();
    }
    ops.graph_launch(graph->second);
}

void decode(Engine& engine, std::vector<ActiveSample>& samples, int B) {
    if (engine.model.ops->graph_begin)
        decode_by_graph(engine, samples, B);
    else
        decode_and_record(engine, samples, B);
}

// ---- draw ---------------------------------------------------------------------------------------

// logits = W_lm norm(hidden)           (B, C) -> (B, V)
static void compute_logits(Engine& engine, const std::vector<ActiveSample>& samples) {
    const Ops& ops = *engine.model.ops;
    const Params& p = engine.model.params;
    const int B = (int)samples.size();
    for_shares(engine.by_threads, B, [&](int first, int count) {
        auto of = [&](const Tensor& x) { return x.rows(first, count); };
        const double eps = engine.model.config.norm_eps;
        if (in_few_launches(engine.model, count))
            return ops.norm_linear(of(engine.logits), of(engine.hidden), p.norm, p.lm_head, eps);
        ops.rmsnorm_forward(of(engine.row_y), of(engine.row_s), of(engine.hidden), p.norm, eps);
        ops.linear_forward(of(engine.logits), of(engine.row_y), p.lm_head, {});
    });
    if (!engine.recording) return;
    std::vector<int> completions;
    std::vector<int32_t> rows;
    for (const ActiveSample& sample : samples) {
        completions.push_back(sample.completion);
        rows.push_back(sample.row);
    }
    record_draws(*engine.recording, completions, rows, engine.logits.rows(0, B));
}

// Each sample's random number and, if that matters, whether it may not end yet.
static void upload_chances(Engine& engine, const std::vector<ActiveSample>& samples,
                           const SampleConfig& config, uint32_t step, bool bars) {
    const int B = (int)samples.size();
    Tensor uniform = engine.uniform.rows(0, B);
    std::vector<double> chance;
    std::vector<int32_t> bar;
    for (const ActiveSample& sample : samples) {
        const Completion& out = *sample.out;
        const bool own = !config.seeds.empty();
        const uint64_t seed = own ? config.seeds[out.prompt] : (uint64_t)config.seed;
        const double u = sample_uniform(seed, step, own ? 0 : (uint32_t)out.prompt,
                                        (uint32_t)out.sample, (uint32_t)out.ids.size());
        // strictly below 1 also after rounding to f32
        chance.push_back(uniform.dtype == DType::f64 ? u : std::min((float)u, 1 - 0x1p-24f));
        bar.push_back((int)out.ids.size() < config.min_new_tokens);
    }
    upload_values(*engine.model.ops, uniform, chance);
    if (bars) engine.model.ops->upload(engine.bar.rows(0, B), bar.data());
}

void draw(Engine& engine, std::vector<ActiveSample>& samples, const SampleConfig& config,
          uint32_t step) {
    const Ops& ops = *engine.model.ops;
    const int B = (int)samples.size();
    const bool bars = config.min_new_tokens > 0 && !engine.model.config.eos.empty();
    compute_logits(engine, samples);
    upload_chances(engine, samples, config, step, bars);
    Tensor token(engine.drawn.data, DType::i32, {engine.batch});
    Tensor logp = engine.drawn.rows(1, 1).view({engine.batch}),
           entropy = engine.drawn.rows(2, 1).view({engine.batch});
    for_shares(engine.by_threads, B, [&](int first, int count) {
        auto of = [&](const Tensor& x) { return x.rows(first, count); };
        ops.sample(of(token), of(logp), config.entropy ? of(entropy) : Tensor(), of(engine.logits),
                   of(engine.uniform), bars ? engine.barred : Tensor(),
                   bars ? of(engine.bar) : Tensor(),
                   {config.temperature, config.top_k, config.top_p, config.min_p});
    });

    // All that was drawn by one download: on a GPU each waits for the device.
    std::vector<char> drawn(engine.drawn.bytes());
    ops.download(drawn.data(), engine.drawn);
    auto on_host = [&](const Tensor& x, int b) {
        const char* row = drawn.data() + ((char*)x.data - (char*)engine.drawn.data);
        return x.dtype == DType::f64 ? ((const double*)row)[b] : ((const float*)row)[b];
    };
    for (int b = 0; b < B; ++b) {
        Completion& out = *samples[b].out;
        const double chosen = on_host(logp, b);
        CHECK(std::isfinite(chosen),
              "the model's logits are not finite (prompt %d, sample %d, token %zu)", out.prompt,
              out.sample, out.ids.size());
        out.ids.push_back(((const int32_t*)drawn.data())[b]);
        out.logp.push_back(chosen);
        if (config.entropy) out.entropy.push_back(on_host(entropy, b));
    }
}
