#include "model/recording.h"

#include <algorithm>

void start_recording(Recording& recording, int prompts, int64_t prompt_tokens, int64_t completions,
                     int new_tokens) {
    Pass& pass = *recording.pass;
    const ComputeConfig& compute = pass.model.compute;
    if (compute.gpu || compute.ranks || compute.recompute || !pass.with_backward) return;
    // A completion's last token is drawn, but not fed.
    const int64_t most = prompt_tokens + completions * (new_tokens - 1);
    Room& room = recording.room;
    room.rows = (int)std::min<int64_t>(recording.most_rows, most);
    room.sequences = (int)(prompts + completions);
    room.listed = (int)std::min<int64_t>(completions * new_tokens, room.rows + completions);
    lay_out(pass, room.rows, room.sequences, room);
    recording.layout = pass.layouts;
    recording.logits = true;
    recording.rows = 0;
    recording.prompt.assign(prompts, 0);
    recording.input.assign(completions, {}), recording.draw.assign(completions, {});
    recording.list.clear();
}

TrunkRows next_rows(Recording* maybe, int count) {
    if (!maybe || !maybe->holds()) return {};
    Recording& recording = *maybe;
    Pass& pass = *recording.pass;
    if (recording.rows + count > recording.room.rows) {
        recording.end();
        return {};
    }
    TrunkRows part;
    for (const LayerActs& acts : pass.layer)
        part.layer.push_back(acts.rows(pass.model.config, recording.rows, count));
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
        Tensor list = pass.rows.rows(0, (int64_t)rows.size());
        ops.upload(list, rows.data());
        ops.compact_rows(x.view({x.shape[0], x.size() / x.shape[0]}), list);
    };

    std::vector<int32_t> rows = batch.row, place(recording.rows, -1); // old row to new
    std::sort(rows.begin(), rows.end());
    for (size_t n = 0; n < rows.size(); ++n) place[rows[n]] = (int32_t)n;
    if ((int)rows.size() < recording.rows) {
        for (LayerActs& acts : pass.layer)
            each_act(acts, pass.model.config,
                     [&](const char*, Tensor& x, int64_t, bool) { compact(x, rows); });
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

    bind_batch(pass, batch, recording.room);
    recording.layout = pass.layouts;
}
