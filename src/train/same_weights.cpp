#include "train/same_weights.h"

#include "base/crc32c.h"

void check_same_weights(const Model& model, const std::string& name, int64_t version) {
    const Collectives* ranks = model.compute.ranks;
    if (!ranks || !ranks->share_work() || model.compute.gpu) return;
    uint32_t sum = 0;
    for (const Param& param : model.params.list)
        sum = crc32c(param.tensor.data, param.tensor.bytes(), sum);
    const std::string own = format("version %lld, checksum %08x", (long long)version, sum);
    const std::vector<std::string> all = ranks->gather(*ranks, own);
    for (size_t r = 0; r < all.size(); ++r)
        CHECK(all[r] == all[0],
              "the weights of %s are not the same everywhere: rank %zu has %s, "
              "rank 0 has %s",
              name.c_str(), r, all[r].c_str(), all[0].c_str());
}
