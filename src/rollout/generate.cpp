// Continuous batching: a finished sequence frees its place at once, and the next sample takes it.
// Samples of the longest prompts are admitted first. One round is: admit samples (computing prompts
// that are new), decode one token of every sequence that was already there, draw the next token of
// all, retire those that ended.

#include "rollout/generate.h"

#include "base/beat.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "rollout/engine.h"
#include "train/shares.h"

#include <algorithm>
#include <numeric>

namespace {

using Prompts = std::vector<std::vector<int32_t>>;

struct PromptSizes {
    int longest = 0;
    int64_t tokens = 0; // of all together
};

PromptSizes check_prompts(const Prompts& prompts, int context) {
    PromptSizes sizes;
    for (size_t p = 0; p < prompts.size(); ++p) {
        CHECK(!prompts[p].empty(), "prompt %zu is empty; a prompt needs at least one token", p + 1);
        CHECK((int)prompts[p].size() < context,
              "prompt %zu has %zu tokens; the model's context of %d leaves no room for an answer",
              p + 1, prompts[p].size(), context);
        sizes.longest = std::max(sizes.longest, (int)prompts[p].size());
        sizes.tokens += (int64_t)prompts[p].size();
    }
    return sizes;
}

// The longest prompts first: they tend to have the longest answers, and a batch that ends with
// short ones has fewer idle places.
std::vector<int> longest_first(const Prompts& prompts) {
    std::vector<int> order(prompts.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [&](int a, int b) { return prompts[a].size() > prompts[b].size(); });
    return order;
}

// The state of a call. Samples are numbered in the order of admission: n of the first prompt in
// `order`, n of the second ..; a prompt's place in it is its turn.
struct Generation {
    Engine& engine;
    const Prompts& prompts;
    const std::vector<int>& number; // of each prompt in the caller's list: what its draws depend on
    const SampleConfig& sample;
    std::vector<Completion>& completions;
    std::vector<int> order;             // turn -> prompt
    int64_t next = 0;                   // sample to be admitted
    std::vector<ActiveSample> active{}; // in flight
    std::vector<CachedPrompt>
        open{}; // of consecutive turns; between rounds one at most: the next sample's
    GenerateStats stats{};

    int64_t samples() const { return (int64_t)completions.size(); }
    int turn_of(int64_t i) const { return (int)(i / sample.n); }
    bool working() const { return next < samples() || !active.empty(); }
};

// Takes the prompts of samples next .. end-1 that are not open yet into the cache.
void open_prompts(Generation& run, int64_t end) {
    const size_t already = run.open.size();
    for (int64_t i = run.next; i < end; ++i) {
        const int turn = run.turn_of(i), p = run.order[turn];
        if (!run.open.empty() && run.open.back().turn == turn) continue;
        CachedPrompt prompt{p, (int)run.prompts[p].size(), turn, (int)run.open.size(), {}};
        for (int page = 0; page < run.engine.pages_for(prompt.length); ++page)
            prompt.pages.push_back(run.engine.pool.take());
        run.stats.prompt_tokens += prompt.length;
        run.open.push_back(std::move(prompt));
    }
    compute_prompts(run.engine, std::span(run.open).subspan(already), run.prompts,
                    run.sample.prefixes);
}

// A sample of the prompt, its number s. It reads the prompt's full pages and gets a copy of the
// last one, unless that is full, or it is the last that reads it.
ActiveSample start_sample(Generation& run, const CachedPrompt& prompt, int s,
                          std::vector<int32_t>& copy_to, std::vector<int32_t>& copy_from) {
    Engine& engine = run.engine;
    const int number = prompt.index * run.sample.n + s;
    const bool is_last = s + 1 == run.sample.n;
    Completion& out = run.completions[number];
    out.prompt = run.number[prompt.index];
    out.sample = s;
    ActiveSample sample{&out, prompt.length, prompt.pages, number, 0};
    if (engine.recording && engine.recording->holds())
        sample.row = engine.recording->prompt[prompt.index] + prompt.length - 1;
    for (int page : sample.pages) engine.pool.share(page);
    if (prompt.length % engine.page_size != 0 && !is_last) {
        engine.pool.drop(sample.pages.back());
        copy_from.push_back(sample.pages.back());
        sample.pages.back() = engine.pool.take();
        copy_to.push_back(sample.pages.back());
    }
    if (is_last)
        for (int page : prompt.pages) engine.pool.drop(page); // its readers hold it now
    return sample;
}

void copy_pages(Engine& engine, const std::vector<int32_t>& to, const std::vector<int32_t>& from) {
    const int count = (int)to.size();
    if (count == 0) return;
    const Ops& ops = *engine.model.ops;
    Tensor to_t = engine.copy_to.rows(0, count), from_t = engine.copy_from.rows(0, count);
    ops.upload(to_t, to.data());
    ops.upload(from_t, from.data());
    for (KvCache& layer : engine.cache) ops.kv_copy(layer, to_t, from_t, count);
}

// Only the prompt of the next sample stays open, in the first row of prompt_hidden.
void close_prompts(Generation& run) {
    if (run.open.empty()) return;
    CachedPrompt last = std::move(run.open.back());
    run.open.clear();
    if (run.next == run.samples() || run.turn_of(run.next) != last.turn) return;
    Tensor rows = run.engine.prompt_hidden;
    if (last.hidden_row != 0)
        run.engine.model.ops->copy(rows.rows(0, 1), rows.rows(last.hidden_row, 1));
    last.hidden_row = 0;
    run.open.push_back(std::move(last));
}

// As many samples as there are places. Returns which rows of prompt_hidden predict their first tokens.
std::vector<int32_t> admit(Generation& run) {
    Engine& engine = run.engine;
    const int old = (int)run.active.size();
    const int64_t end = std::min(run.samples(), run.next + engine.batch - old);
    open_prompts(run, end);
    std::vector<int32_t> hidden_rows, copy_to, copy_from;
    for (; run.next < end; ++run.next) {
        const int turn = run.turn_of(run.next), s = (int)(run.next % run.sample.n);
        const CachedPrompt& prompt = run.open[turn - run.open[0].turn];
        run.active.push_back(start_sample(run, prompt, s, copy_to, copy_from));
        hidden_rows.push_back(prompt.hidden_row);
    }
    copy_pages(engine, copy_to, copy_from);
    return hidden_rows;
}

// The rows of hidden of those admitted, behind those of the `old` ones that were decoded.
void place_hidden(Generation& run, int old, const std::vector<int32_t>& hidden_rows) {
    Engine& engine = run.engine;
    const Ops& ops = *engine.model.ops;
    if (const int count = (int)hidden_rows.size()) {
        Tensor list = engine.list.rows(0, count);
        ops.upload(list, hidden_rows.data());
        ops.gather_rows(engine.hidden.rows(old, count), engine.prompt_hidden, list);
    }
    close_prompts(run);
}

// Those that ended, by themselves, at a limit or because `drawn` said so, leave.
void retire(Generation& run, const std::function<void(const Completion&)>& done,
            const std::function<bool(const Completion&)>& drawn) {
    const ModelConfig& m = run.engine.model.config;
    size_t kept = 0;
    for (ActiveSample& sample : run.active) {
        Completion& out = *sample.out;
        out.finished = std::find(m.eos.begin(), m.eos.end(), out.ids.back()) != m.eos.end();
        const int prompt = sample.completion / run.sample.n;
        const int tokens = (int)run.prompts[prompt].size() + (int)out.ids.size();
        const bool at_limit =
            (int)out.ids.size() == run.sample.max_new_tokens || tokens == m.max_positions;
        const bool stopped = drawn && !drawn(out);
        if (out.finished || at_limit || stopped) {
            for (int page : sample.pages) run.engine.pool.drop(page);
            if (done) done(out);
        } else {
            std::swap(run.active[kept++], sample);
        }
    }
    run.active.resize(kept);
}

// The completions of prompts that are numbered so.
std::vector<Completion>
generate_numbered(Model& model, const Prompts& prompts, const std::vector<int>& number,
                  const SampleConfig& sample, uint32_t step, GenerateStats& stats,
                  const std::function<void(const Completion&)>& done, Recording* recording,
                  const std::function<bool(const Completion&)>& drawn) {
    const int context = model.config.max_positions;
    const PromptSizes sizes = check_prompts(prompts, context);
    const int64_t samples = (int64_t)prompts.size() * sample.n;
    std::vector<Completion> completions(samples);
    if (samples == 0 || sample.max_new_tokens == 0) return completions;

    const int new_tokens = std::min(sample.max_new_tokens, context);
    const int batch =
        fitting_batch(model, std::min<int64_t>(sample.batch, samples), sizes.longest, new_tokens);
    if (recording)
        start_recording(*recording, (int)prompts.size(), sizes.tokens, samples, new_tokens);
    Engine engine(model, batch, sizes.longest, new_tokens, sizes.tokens, recording);
    engine.allocate();

    Generation run{engine, prompts, number, sample, completions, longest_first(prompts)};
    while (run.working()) {
        beat();
        const double start = now();
        const int old = (int)run.active.size();
        const std::vector<int32_t> hidden_rows = admit(run);
        const double admitted = now();
        if (old > 0) decode(engine, run.active, old);
        place_hidden(run, old, hidden_rows);
        draw(engine, run.active, sample, step);
        run.stats.new_tokens += (int64_t)run.active.size(), ++run.stats.rounds;
        retire(run, done, drawn);
        run.stats.prefill_seconds += admitted - start;
        run.stats.decode_seconds += now() - admitted;
    }
    stats = run.stats;
    return completions;
}

void put(ByteWriter& message, const Completion& out) {
    message.put(out.prompt), message.put(out.sample), message.put(out.finished);
    message.put(out.ids), message.put(out.logp), message.put(out.entropy);
}
void get(ByteReader& message, Completion& out) {
    message.get(out.prompt), message.get(out.sample), message.get(out.finished);
    message.get(out.ids), message.get(out.logp), message.get(out.entropy);
}

} // namespace

std::vector<Completion> share_completions(const Collectives& ranks,
                                          const std::vector<Completion>& own, int64_t prompts,
                                          int n, GenerateStats& stats,
                                          const std::function<void(const Completion&)>& done) {
    ByteWriter message;
    message.put(stats);
    for (const Completion& out : own) put(message, out);
    const std::vector<std::string> all = ranks.gather(ranks, message.bytes);
    std::vector<Completion> completions((size_t)(prompts * n));
    stats = {};
    for (int r = 0; r < ranks.ranks; ++r) {
        ByteReader reader{all[r]};
        GenerateStats of_rank;
        reader.get(of_rank);
        stats.prompt_tokens += of_rank.prompt_tokens, stats.new_tokens += of_rank.new_tokens;
        stats.rounds += of_rank.rounds;
        stats.prefill_seconds = std::max(stats.prefill_seconds, of_rank.prefill_seconds);
        stats.decode_seconds = std::max(stats.decode_seconds, of_rank.decode_seconds);
        while (reader.more()) {
            Completion out;
            get(reader, out);
            if (done && r != ranks.rank) done(out);
            const size_t place = (size_t)out.prompt * n + out.sample;
            completions.at(place) = std::move(out);
        }
    }
    return completions;
}

std::vector<Completion> generate_some(Model& model, const Prompts& prompts,
                                      const std::vector<int>& which, const SampleConfig& sample,
                                      uint32_t step, GenerateStats& stats,
                                      const std::function<void(const Completion&)>& done,
                                      const std::function<bool(const Completion&)>& drawn) {
    Prompts own;
    SampleConfig own_sample = sample; // seeds go by the caller's numbers, prefixes with the prompts
    own_sample.prefixes.clear();
    for (int p : which) {
        own.push_back(prompts[p]);
        if (!sample.prefixes.empty()) own_sample.prefixes.push_back(sample.prefixes[p]);
    }
    GenerateStats more;
    std::vector<Completion> completions =
        generate_numbered(model, own, which, own_sample, step, more, done, nullptr, drawn);
    stats.prompt_tokens += more.prompt_tokens, stats.new_tokens += more.new_tokens;
    stats.rounds += more.rounds, stats.prefill_seconds += more.prefill_seconds;
    stats.decode_seconds += more.decode_seconds;
    return completions;
}

std::vector<Completion> generate(Model& model, const std::vector<std::vector<int32_t>>& prompts,
                                 const SampleConfig& sample, uint32_t step, GenerateStats* stats,
                                 const std::function<void(const Completion&)>& done,
                                 Recording* recording,
                                 const std::function<bool(const Completion&)>& drawn) {
    std::vector<int> number(prompts.size());
    std::iota(number.begin(), number.end(), 0);
    GenerateStats own_stats;
    GenerateStats& out_stats = stats ? *stats : own_stats;
    const Collectives* ranks = model.compute.ranks;
    if (!ranks || !ranks->share_work())
        return generate_numbered(model, prompts, number, sample, step, out_stats, done, recording,
                                 drawn);
    // How long the answers will be is not known; a long prompt tends to a long one.
    std::vector<double> cost;
    for (const auto& prompt : prompts) cost.push_back((double)prompt.size());
    const std::vector<int> owner = deal(cost, ranks->ranks);
    std::erase_if(number, [&](int p) { return owner[p] != ranks->rank; });
    out_stats = {};
    const std::vector<Completion> completions =
        generate_some(model, prompts, number, sample, step, out_stats, done, drawn);
    return share_completions(*ranks, completions, (int64_t)prompts.size(), sample.n, out_stats,
                             done);
}
