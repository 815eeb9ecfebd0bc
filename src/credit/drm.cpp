#include "credit/drm.h"

#include "base/check.h"
#include "credit/normalise.h"
#include "credit/sigmoid.h"

#include <cmath>

double drm_confidence(std::span<const double> logp_reasoning, std::span<const double> logp_answer) {
    double answer = 0;
    for (double logp : logp_answer) answer += logp;
    return pooled(logp_reasoning, Pool::mean) + answer;
}

double drm_relevance(std::span<const double> logits) {
    double sum = 0;
    for (double z : logits) sum += sigmoid(z);
    return sum;
}

double drm_relevance(const DrmParts& parts, const std::vector<std::string>& terms) {
    std::vector<double> logits;
    for (const std::string& term : terms) {
        const double z = term == "question"    ? parts.question
                         : term == "documents" ? parts.documents
                                               : parts.answer;
        if (!std::isnan(z)) logits.push_back(z);
    }
    return drm_relevance(logits);
}

std::vector<double> drm_scores(const std::vector<DrmDimension>& dimensions,
                               const std::vector<WellFormed>& form, const Layout& layout,
                               Normalise normalise, double std_floor, double malformed) {
    std::vector<uint8_t> counts;
    for (WellFormed each : form) counts.push_back(each == WellFormed::yes);
    std::vector<double> S(form.size());
    for (const DrmDimension& dimension : dimensions) {
        const std::vector<double> n =
            normalised(dimension.score, counts, layout.group, normalise, std_floor);
        for (size_t i = 0; i < S.size(); ++i) S[i] += counts[i] ? dimension.weight * n[i] : 0;
    }
    for (size_t i = 0; i < S.size(); ++i)
        if (form[i] == WellFormed::no) S[i] = malformed;
    return S;
}
