#include "model/recording.h"

#include <algorithm>

void start_recording(Recording& recording, int prompts, int64_t prompt_tokens, int64_t completions,
                     int new_tokens) {
    Pass& pass = *recording.pass;
    const ComputeConfig& compute = pass.model.compute;
    if (compute.gpu || compute.ranks || compute.recompute || !pass.with_backward) return;
    // A completion's last token is drawn, but not fed.
    const int64_t most = prompt_tokens + completions * (new_tokens - 1);
    pass.room.rows = (int)std::min<int64_t>(recording.most_rows, most);
    pass.room.sequences = (int)(prompts + completions);
    pass.room.listed =
        (int)std::min<int64_t>(completions * new_tokens, pass.room.rows + completions);
    lay_out(pass, pass.room.rows, pass.room.sequences);
    recording.started = recording.logits = true;
    recording.rows = 0;
    recording.prompt.assign(prompts, 0);
    recording.input.assign(completions, {}), recording.draw.assign(completions, {});
    recording.list.clear();
}

TrunkRows next_rows(Recording* maybe, int count) {
    if (!maybe || !maybe->holds()) return {};
    Recording& recording = *maybe;
    Pass& pass = *recording.pass;
    if (recording.rows + count > pass.room.rows) {
        pass.room = {};
        return {};
    }
    TrunkRows part;
    for (const LayerActs& acts : pass.layer) part.layer.push_back(acts.rows(recording.rows, count));
    part.hidden = pass.hidden.rows(recording.rows, count);
    recording.rows += count;
    return part;
}

void record_draws(Recording& recording, const std::vector<int>& completions,
                  const std::vector<int32_t>& rows, Tensor logits) {
    if (!recording.holds()) return;
    Pass& pass = *recording.pass;
    const int at = (int)recording.list.size(), B = (int)rows.size();
    recording.logits &= at + B <= pass.chunk;
    if (recording.logits) pass.model.ops->copy(pass.logits.rows(at, B), logits);
    for (int b = 0; b < B; ++b) recording.draw[completions[b]].push_back(at + b);
    recording.list.insert(recording.list.end(), rows.begin(), rows.end());
}

void bind_recording(Recording& recording, HostBatch& batch, const std::vector<int32_t>& draws) {
    Pass& pass = *recording.pass;
    const Ops& ops = *pass.model.ops;
    CHECK(recording.holds(), "a recording was used after it had ended");
    auto compact = [&](Tensor x, const std::vector<int32_t>& rows) {
        if (!x) return;
        Tensor list = pass.rows.rows(0, (int64_t)rows.size());
        ops.upload(list, rows.data());
        ops.compact_rows(x.view({x.shape[0], x.size() / x.shape[0]}), list);
    };

    std::vector<int32_t> rows = batch.row, place(recording.rows, -1); // old row to new
    std::sort(rows.begin(), rows.end());
    for (size_t n = 0; n < rows.size(); ++n) place[rows[n]] = (int32_t)n;
    if ((int)rows.size() < recording.rows) {
        for (const LayerActs& a : pass.layer)
            for (Tensor x : {a.x, a.y1, a.s1, a.raw, a.raw_s, a.qkv, a.att, a.lse, a.x2, a.y2, a.s2,
                             a.gate_up, a.act})
                compact(x, rows);
        compact(pass.hidden, rows);
    }
    if (recording.logits && draws.size() < recording.list.size()) compact(pass.logits, draws);

    for (int32_t& row : batch.row) row = place[row];
    std::vector<int32_t> list, to(recording.list.size(), -1);
    for (int32_t draw : draws) {
        to[draw] = (int32_t)list.size();
        list.push_back(place[recording.list[draw]]);
    }
    for (std::vector<int32_t>& draw : recording.draw)
        for (int32_t& at : draw) at = to[at];
    recording.list = list, recording.rows = (int)rows.size();

    bind_batch(pass, batch);
    if (recording.logits) pass.kept.rows = list;
}
