// Continuous batching: a finished sequence frees its place at once, and the next sample takes it. Samples of
// the longest prompts are admitted first. One round is: admit samples (computing prompts that are new), decode
// one token of every sequence that was already there, draw the next token of all.

#include "rollout/generate.h"

#include "base/clock.h"
#include "base/rng.h"
#include "ops/gpu.h"
#include "ops/values.h"

#include <algorithm>
#include <cmath>
#include <exception>
#include <map>
#include <numeric>
#include <omp.h>
#include <optional>
#include <unistd.h>

namespace {

constexpr int most_prefill_tokens = 2048; // of prompts computed together
constexpr size_t cache_bytes_per_core = 4 << 20;

// Pages of the cache, counted by the sequences that read them.
struct PagePool {
    std::vector<int> free_pages, readers;
    explicit PagePool(int count) : readers(count, 0) {
        for (int page = count - 1; page >= 0; --page) free_pages.push_back(page);
    }
    int take() {
        CHECK(!free_pages.empty(), "the key/value cache has no free page");
        int page = free_pages.back();
        free_pages.pop_back();
        readers[page] = 1;
        return page;
    }
    void share(int page) { ++readers[page]; }
    void drop(int page) {
        if (--readers[page] == 0) free_pages.push_back(page);
    }
};

// A prompt in the cache, as long as samples of it wait to be admitted.
struct Prompt {
    int index = -1, length = 0;
    int turn = -1;      // its place in the order of admission
    int hidden_row = 0; // its last token's hidden row, in Engine::prompt_hidden
    std::vector<int> pages;
};

struct Sequence {
    Completion* out = nullptr;
    int length = 0; // tokens in the cache
    std::vector<int> pages;
    int completion = 0; // its number
    int row = 0;        // of a recording: the one that predicts the next token
};

// Whether weights that were read once are still in the caches at the next step.
bool stays_in_caches(const Model& model) {
    return !model.compute.gpu &&
           model.weights.capacity <= (size_t)omp_get_max_threads() * cache_bytes_per_core;
}

struct Engine {
    // prompt_tokens: of all prompts together; fewer than most_prefill_tokens need less memory.
    Engine(const Model& model_, int batch_, int longest_prompt, int new_tokens,
           int64_t prompt_tokens = most_prefill_tokens, Recording* recording_ = nullptr)
        : model(model_), recording(recording_), batch(batch_), page_size(KvCache().page),
          max_pages(pages_for(std::min(model.config.max_positions, longest_prompt + new_tokens))),
          pages(batch * max_pages + pages_for(longest_prompt)),
          prefill_tokens((int)std::max<int64_t>(
              std::min<int64_t>(most_prefill_tokens, prompt_tokens), longest_prompt)),
          pool(pages) {
        layout();
    }
    void allocate() {
        prefill.emplace(model, prefill_tokens, prefill_tokens, false);
        arena.allocate(model.ops->alloc, model.ops->free);
        layout();
        if (!model.config.eos.empty()) model.ops->upload(barred, model.config.eos.data());
    }
    Engine(const Engine&) = delete;
    ~Engine() {
        for (auto& [rows, graph] : graphs) model.ops->graph_free(graph);
    }
    int pages_for(int tokens) const { return (tokens + page_size - 1) / page_size; }

    void layout() {
        const ModelConfig& m = model.config;
        const DType dtype = model.compute.dtype;
        auto take = [&](const char* name, int64_t width) {
            return arena.take(name, dtype, {batch, width});
        };
        auto take_rows = [&](const char* name) {
            return arena.take(name, wide_dtype(dtype), {batch});
        };
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
        branch = take("branch", m.C), hidden = take("hidden", m.C);
        if (model.compute.gpu) decoded = take("decoded", m.C);
        prompt_hidden = arena.take("prompt_hidden", dtype, {batch + 1, m.C});
        row_y = take("row_y", m.C), row_s = take_rows("row_s");
        logits = take("logits", m.V), logp = take_rows("logp");
        entropy = take_rows("entropy"), uniform = take_rows("uniform");
        ids = take_ids("ids", batch), position = take_ids("position", batch);
        slot = take_ids("slot", batch), length = take_ids("length", batch);
        token = take_ids("token", batch), bar = take_ids("bar", batch),
        list = take_ids("list", batch);
        barred = take_ids("barred", std::max<int64_t>(1, (int64_t)m.eos.size()));
        table = arena.take("pages", DType::i32, {batch, max_pages});
        copy_to = take_ids("copy_to", batch), copy_from = take_ids("copy_from", batch);
        prompt_slot = take_ids("prompt_slot", prefill_tokens);
    }

    const Model& model;
    Recording* recording; // or null
    int batch, page_size, max_pages, pages, prefill_tokens;
    PagePool pool;
    std::optional<Pass> prefill;
    Arena arena{"generation"};
    std::vector<KvCache> cache; // per layer
    LayerActs acts;
    std::map<int, void*> graphs; // a recorded decode step by its number of rows
    Tensor decoded;              // (batch, C) what the graph leaves
    Tensor branch, hidden, prompt_hidden, row_y, row_s, logits, logp, entropy, uniform;
    Tensor ids, position, slot, length, token, bar, list, barred, table, copy_to, copy_from;
    Tensor prompt_slot; // (tokens of a prefill) where each goes in the cache
};

// Computes prompts, at most most_prefill_tokens together, fills their pages and keeps the hidden row of each
// one's last token.
void compute_prompts(Engine& engine, std::vector<Prompt*>& fresh,
                     const std::vector<std::vector<int32_t>>& texts) {
    const Ops& ops = *engine.model.ops;
    const ModelConfig& m = engine.model.config;
    const int page_size = engine.cache[0].page;
    for (size_t first = 0; first < fresh.size();) {
        HostBatch batch;
        std::vector<int32_t> slots, last_rows;
        size_t last = first;
        for (; last < fresh.size(); ++last) {
            Prompt& prompt = *fresh[last];
            if (last > first && batch.tokens() + prompt.length > most_prefill_tokens) break;
            batch.add(texts[prompt.index].data(), prompt.length);
            for (int t = 0; t < prompt.length; ++t)
                slots.push_back(prompt.pages[t / page_size] * page_size + t % page_size);
            last_rows.push_back(batch.tokens() - 1);
        }
        Tensor where = engine.prompt_slot.rows(0, batch.tokens());
        ops.upload(where, slots.data());
        auto fill_cache = [&](int l, Tensor qkv) {
            ops.kv_write(engine.cache[l], qkv, where, m.H, m.K);
        };
        Tensor hidden;
        int recorded = engine.recording ? engine.recording->rows : 0;
        TrunkRows rows = next_rows(engine.recording, batch.tokens());
        if (rows.layer.empty()) {
            forward(*engine.prefill, batch, nullptr, fill_cache);
            hidden = engine.prefill->hidden;
        } else {
            forward(*engine.prefill, batch, &rows, fill_cache);
            hidden = rows.hidden;
            for (size_t p = first; p < last; ++p) {
                engine.recording->prompt[fresh[p]->index] = recorded;
                recorded += fresh[p]->length;
            }
        }
        const int count = (int)last_rows.size();
        ops.upload(engine.list.rows(0, count), last_rows.data());
        ops.gather_rows(engine.prompt_hidden.rows(fresh[first]->hidden_row, count), hidden,
                        engine.list.rows(0, count));
        first = last;
    }
}

// Rows of a recorded step for B sequences: few sizes, so that few steps are recorded.
int bucket(int B, int batch) {
    int rows = 1;
    while (rows < B && rows < 8) rows *= 2;
    if (B > 8) rows = (B + 7) / 8 * 8;
    return std::min(rows, batch);
}

// Calls f(first, count) for rows 0 .. rows-1: for all of them, or, with weights in the caches and rows enough, each
// thread for its share. Those go through several ops side by side then, and wait for each other once.
template <class F> void for_shares(const Model& model, int rows, const F& f) {
    const int wanted = omp_get_max_threads();
    if (model.compute.ops || !stays_in_caches(model) || rows < 8 * wanted) return f(0, rows);
    std::exception_ptr failure;
#pragma omp parallel
    {
        const int t = omp_get_thread_num(), threads = omp_get_num_threads();
        const int first = rows * t / threads, last = rows * (t + 1) / threads;
        omp_set_num_threads(1); // of the ops in here
        try {
            f(first, last - first);
        } catch (...) {
#pragma omp critical
            failure = std::current_exception();
        }
    }
    if (failure) std::rethrow_exception(failure);
}

// All layers for `rows` tokens whose ids, places and pages stand in the engine's arrays.
void decode_layers(Engine& engine, int rows, const TrunkRows& to) {
    const Ops& ops = *engine.model.ops;
    const ModelConfig& m = engine.model.config;
    for_shares(engine.model, rows, [&](int first, int count) {
        auto of = [&](const Tensor& x) { return x.rows(first, count); };
        TrunkRows own = {{}, of(to.hidden)};
        for (const LayerActs& acts : to.layer) own.layer.push_back(acts.rows(m, first, count));
        trunk_forward(engine.model, own, of(engine.branch), of(engine.ids), of(engine.position),
                      [&](int l, LayerActs& acts) {
                          ops.kv_write(engine.cache[l], acts.qkv, of(engine.slot), m.H, m.K);
                          ops.decode_attention(acts.att, acts.lse, acts.qkv, engine.cache[l],
                                               of(engine.table), of(engine.length), m.H, m.K,
                                               attention_scale(m));
                      });
    });
}

// One token of each sequence through all layers: fills hidden, rows 0 .. B-1. Where ops are launched, a
// step is recorded once per number of rows and launched as one; rows beyond B then write to no slot, read
// one key of page 0, and nobody reads what comes out.
void decode(Engine& engine, std::vector<Sequence>& sequences, int B) {
    const Ops& ops = *engine.model.ops;
    const ModelConfig& m = engine.model.config;
    const int page_size = engine.page_size;
    const bool records = ops.graph_begin != nullptr;
    const int rows = records ? bucket(B, engine.batch) : B;
    std::vector<int32_t> ids(rows, 0), position(rows, 0), slot(rows, -1), length(rows, 1);
    std::vector<int32_t> table((size_t)rows * engine.max_pages, 0);
    for (int b = 0; b < B; ++b) {
        Sequence& sequence = sequences[b];
        if (sequence.length % page_size == 0) sequence.pages.push_back(engine.pool.take());
        ids[b] = sequence.out->ids.back();
        position[b] = sequence.length;
        slot[b] = sequence.pages.back() * page_size + sequence.length % page_size;
        length[b] = ++sequence.length;
        std::copy(sequence.pages.begin(), sequence.pages.end(),
                  table.begin() + (size_t)b * engine.max_pages);
    }
    auto upload = [&](Tensor to, const std::vector<int32_t>& values) {
        ops.upload(to.rows(0, rows), values.data());
    };
    upload(engine.ids, ids), upload(engine.position, position), upload(engine.slot, slot);
    upload(engine.length, length), upload(engine.table, table);
    auto own_rows = [&](int count, Tensor hidden) {
        std::vector<LayerActs> same(m.L, engine.acts.rows(m, 0, count));
        return TrunkRows{same, hidden.rows(0, count)};
    };
    if (!records) {
        const int recorded = engine.recording ? engine.recording->rows : 0;
        TrunkRows to = next_rows(engine.recording, B);
        if (to.layer.empty()) return decode_layers(engine, B, own_rows(B, engine.hidden));
        for (int b = 0; b < B; ++b) {
            sequences[b].row = recorded + b;
            engine.recording->input[sequences[b].completion].push_back(recorded + b);
        }
        decode_layers(engine, B, to);
        return ops.copy(engine.hidden.rows(0, B), to.hidden);
    }

    auto [place, fresh] = engine.graphs.try_emplace(rows, nullptr);
    if (fresh) {
        // Run once before it is recorded: what an op takes at its first call (scratch, a GEMM's plan) may
        // not be taken while recording. It writes the same keys to the same slots.
        decode_layers(engine, rows, own_rows(rows, engine.decoded));
        ops.graph_begin();
        decode_layers(engine, rows, own_rows(rows, engine.decoded));
        place->second = ops.graph_end();
    }
    ops.graph_launch(place->second);
    ops.copy(engine.hidden.rows(0, B), engine.decoded.rows(0, B));
}

// Final norm, LM head, draw: appends a token to every sequence.
void draw(Engine& engine, std::vector<Sequence>& sequences, const SampleConfig& sample,
          uint32_t step) {
    const Ops& ops = *engine.model.ops;
    const ModelConfig& m = engine.model.config;
    const int B = (int)sequences.size();
    Tensor logits = engine.logits.rows(0, B);
    for_shares(engine.model, B, [&](int first, int count) {
        Tensor y = engine.row_y.rows(first, count);
        ops.rmsnorm_forward(y, engine.row_s.rows(first, count), engine.hidden.rows(first, count),
                            engine.model.params.norm, m.norm_eps);
        ops.linear_forward(logits.rows(first, count), y, engine.model.params.lm_head, {});
    });
    if (engine.recording) {
        std::vector<int> completions;
        std::vector<int32_t> rows;
        for (const Sequence& sequence : sequences)
            completions.push_back(sequence.completion), rows.push_back(sequence.row);
        record_draws(*engine.recording, completions, rows, logits);
    }

    std::vector<double> uniform64;
    std::vector<int32_t> bar;
    for (const Sequence& sequence : sequences) {
        const Completion& out = *sequence.out;
        uniform64.push_back(sample_uniform((uint64_t)sample.seed, step, (uint32_t)out.prompt,
                                           (uint32_t)out.sample, (uint32_t)out.ids.size()));
        bar.push_back((int)out.ids.size() < sample.min_new_tokens);
    }
    Tensor uniform = engine.uniform.rows(0, B), logp = engine.logp.rows(0, B);
    Tensor token = engine.token.rows(0, B), bar_t = engine.bar.rows(0, B);
    if (uniform.dtype == DType::f64) {
        ops.upload(uniform, uniform64.data());
    } else {
        // strictly below 1 also after rounding
        std::vector<float> uniform32;
        for (double u : uniform64) uniform32.push_back(std::min((float)u, 1 - 0x1p-24f));
        ops.upload(uniform, uniform32.data());
    }
    ops.upload(bar_t, bar.data());
    const bool bars = sample.min_new_tokens > 0 && !m.eos.empty();
    Tensor entropy = sample.entropy ? engine.entropy.rows(0, B) : Tensor();
    for_shares(engine.model, B, [&](int first, int count) {
        auto of = [&](const Tensor& x) { return x.rows(first, count); };
        ops.sample(of(token), of(logp), entropy ? of(entropy) : Tensor(), of(logits), of(uniform),
                   bars ? engine.barred : Tensor(), bars ? of(bar_t) : Tensor(),
                   {sample.temperature, sample.top_k, sample.top_p, sample.min_p});
    });

    std::vector<int32_t> tokens(B);
    ops.download(tokens.data(), token);
    std::vector<double> logp64 = download_values(ops, logp), entropy64;
    if (entropy) entropy64 = download_values(ops, entropy);
    for (int b = 0; b < B; ++b) {
        CHECK(std::isfinite(logp64[b]),
              "the model's logits are not finite (prompt %d, sample %d, token %zu)",
              sequences[b].out->prompt, sequences[b].out->sample, sequences[b].out->ids.size());
        sequences[b].out->ids.push_back(tokens[b]);
        sequences[b].out->logp.push_back(logp64[b]);
        if (entropy) sequences[b].out->entropy.push_back(entropy64[b]);
    }
}

size_t all_bytes(const Engine& engine) {
    return engine.arena.high_water +
           pass_bytes(engine.model, engine.prefill_tokens, engine.prefill_tokens, false);
}

// How many sequences may be in flight: what was asked for, within a quarter of the machine's memory, or
// nine tenths of what the GPU has left. A model whose weights stay in the caches gains nothing from more rows than a
// product needs, so that its keys and values stay there, too. (The weights of a larger one come from memory at every
// step, the more rarely the more sequences there are.)
int fitting_batch(const Model& model, int64_t wanted, int longest_prompt, int new_tokens) {
    if (model.compute.ops) return (int)wanted; // counted, not computed: it takes no memory
    if (stays_in_caches(model)) {
        const double caches = (double)cache_bytes_per_core * omp_get_max_threads();
        const size_t keys = cache_bytes(model, 2, longest_prompt, new_tokens) -
                            cache_bytes(model, 1, longest_prompt, new_tokens);
        wanted = std::min(wanted, std::max<int64_t>(32, (int64_t)(caches / (double)keys)));
    }
    double memory = model.compute.gpu ? 0.9 * gpu_info().free_bytes
                                      : (double)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE) / 4;
    auto bytes = [&](int batch) {
        return (double)all_bytes(Engine(model, batch, longest_prompt, new_tokens));
    };
    const double one = bytes(1), each = bytes(2) - one;
    return (int)std::max(1.0, std::min((double)wanted, 1 + (memory - one) / each));
}

} // namespace

size_t generation_bytes(const Model& model, int batch, int prompt_tokens, int new_tokens) {
    return all_bytes(Engine(model, batch, prompt_tokens, new_tokens));
}

size_t cache_bytes(const Model& model, int batch, int prompt_tokens, int new_tokens) {
    const Engine engine(model, batch, prompt_tokens, new_tokens);
    size_t bytes = 0;
    for (const KvCache& layer : engine.cache) bytes += layer.k.bytes() + layer.v.bytes();
    return bytes;
}

std::vector<Completion> generate(Model& model, const std::vector<std::vector<int32_t>>& prompts,
                                 const SampleConfig& sample, uint32_t step, GenerateStats* stats,
                                 const std::function<void(const Completion&)>& done,
                                 Recording* recording) {
    const int context = model.config.max_positions;
    int longest = 0;
    int64_t prompt_tokens = 0;
    for (size_t p = 0; p < prompts.size(); ++p) {
        CHECK(!prompts[p].empty(), "prompt %zu is empty; a prompt needs at least one token", p + 1);
        CHECK((int)prompts[p].size() < context,
              "prompt %zu has %zu tokens; the model's context of %d leaves no room for an answer",
              p + 1, prompts[p].size(), context);
        longest = std::max(longest, (int)prompts[p].size());
        prompt_tokens += (int64_t)prompts[p].size();
    }
    const int64_t samples = (int64_t)prompts.size() * sample.n;
    std::vector<Completion> completions(samples);
    if (samples == 0 || sample.max_new_tokens == 0) return completions;

    const int new_tokens = std::min(sample.max_new_tokens, context);
    const int batch =
        fitting_batch(model, std::min<int64_t>(sample.batch, samples), longest, new_tokens);
    if (recording)
        start_recording(*recording, (int)prompts.size(), prompt_tokens, samples, new_tokens);
    Engine engine(model, batch, longest, new_tokens, prompt_tokens, recording);
    engine.allocate();
    const Ops& ops = *model.ops;
    const int page_size = engine.page_size;

    // The longest prompts first: they tend to have the longest answers, and a batch that ends with short ones
    // has fewer idle places.
    std::vector<int> order(prompts.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [&](int a, int b) { return prompts[a].size() > prompts[b].size(); });

    GenerateStats total;
    std::vector<Sequence> active;
    std::vector<Prompt> open; // those of this round; the last may wait for more places
    for (int64_t next = 0; next < samples || !active.empty();) {
        // admit
        double start = now();
        const int old = (int)active.size();
        const int64_t first_new = next;
        next = std::min(samples, next + batch - old);
        std::vector<Prompt*> fresh;
        for (int64_t i = first_new; i < next; ++i) {
            const int turn = (int)(i / sample.n), p = order[turn];
            if (!open.empty() && open.back().turn == turn) continue;
            open.push_back({p, (int)prompts[p].size(), turn, (int)open.size(), {}});
            for (int page = 0; page < engine.pages_for(open.back().length); ++page)
                open.back().pages.push_back(engine.pool.take());
            total.prompt_tokens += open.back().length;
        }
        for (Prompt& prompt : open)
            if (prompt.turn >= first_new / sample.n + (first_new % sample.n != 0))
                fresh.push_back(&prompt);
        compute_prompts(engine, fresh, prompts);

        // A sample reads its prompt's full pages and gets a copy of the last one, unless that is full.
        std::vector<int32_t> hidden_rows, to, from;
        for (int64_t i = first_new; i < next; ++i) {
            const int turn = (int)(i / sample.n), s = (int)(i % sample.n);
            Prompt* prompt = &open[0];
            while (prompt->turn != turn) ++prompt;
            Completion& out = completions[(int64_t)prompt->index * sample.n + s];
            out.prompt = prompt->index, out.sample = s;
            Sequence sequence{&out, prompt->length, prompt->pages, prompt->index * sample.n + s, 0};
            if (recording && recording->holds())
                sequence.row = recording->prompt[prompt->index] + prompt->length - 1;
            for (int page : sequence.pages) engine.pool.share(page);
            if (prompt->length % page_size != 0 && s + 1 < sample.n) {
                engine.pool.drop(sequence.pages.back());
                from.push_back(sequence.pages.back());
                sequence.pages.back() = engine.pool.take();
                to.push_back(sequence.pages.back());
            }
            if (s + 1 == sample.n)
                for (int page : prompt->pages) engine.pool.drop(page); // its readers hold it now
            hidden_rows.push_back(prompt->hidden_row);
            active.push_back(std::move(sequence));
        }
        if (const int count = (int)to.size()) {
            ops.upload(engine.copy_to.rows(0, count), to.data());
            ops.upload(engine.copy_from.rows(0, count), from.data());
            for (KvCache& layer : engine.cache)
                ops.kv_copy(layer, engine.copy_to.rows(0, count), engine.copy_from.rows(0, count),
                            count);
        }
        if (const int count = (int)hidden_rows.size()) {
            ops.upload(engine.list.rows(0, count), hidden_rows.data());
            ops.gather_rows(engine.hidden.rows(old, count), engine.prompt_hidden,
                            engine.list.rows(0, count));
        }
        // Only a prompt with samples still to come stays open, in the first row.
        if (!open.empty()) {
            Prompt last = open.back();
            open.clear();
            if (next < samples && next / sample.n == last.turn) {
                if (last.hidden_row != 0)
                    ops.copy(engine.prompt_hidden.rows(0, 1),
                             engine.prompt_hidden.rows(last.hidden_row, 1));
                last.hidden_row = 0;
                open.push_back(last);
            }
        }
        double admitted = now();
        total.prefill_seconds += admitted - start;

        if (old > 0) decode(engine, active, old);
        draw(engine, active, sample, step);
        total.new_tokens += (int64_t)active.size();

        // retire
        size_t kept = 0;
        for (Sequence& sequence : active) {
            Completion& out = *sequence.out;
            const std::vector<int>& eos = model.config.eos;
            out.finished = std::find(eos.begin(), eos.end(), out.ids.back()) != eos.end();
            const int tokens = (int)prompts[out.prompt].size() + (int)out.ids.size();
            if (out.finished || (int)out.ids.size() == sample.max_new_tokens || tokens == context) {
                for (int page : sequence.pages) engine.pool.drop(page);
                if (done) done(out);
            } else {
                std::swap(active[kept++], sequence);
            }
        }
        active.resize(kept);
        total.decode_seconds += now() - admitted;
    }
    if (stats) *stats = total;
    return completions;
}
