#include "credit/ranking.h"

#include "base/check.h"
#include "credit/sigmoid.h"

#include <map>

using Groups = std::map<int, std::vector<ScoredAnswer>>;

static double win(double gap) { return gap > 0 ? 1 : gap == 0 ? 0.5 : 0; }

static Groups by_group(const std::vector<ScoredAnswer>& answers) {
    Groups groups;
    for (const ScoredAnswer& answer : answers) groups[answer.group].push_back(answer);
    return groups;
}

static void sort_by_score(std::vector<ScoredAnswer>& answers) {
    std::sort(answers.begin(), answers.end(),
              [](const ScoredAnswer& a, const ScoredAnswer& b) { return a.score < b.score; });
}

// Index behind the answers whose score is that of `first`, in sorted order.
static size_t block_end(const std::vector<ScoredAnswer>& sorted, size_t first) {
    size_t last = first;
    while (last < sorted.size() && sorted[last].score == sorted[first].score) ++last;
    return last;
}

double pair_accuracy(const std::vector<double>& gaps) {
    if (gaps.empty()) return NAN;
    double sum = 0;
    for (double gap : gaps) sum += win(gap);
    return sum / (double)gaps.size();
}

std::vector<double> gaps_within_groups(const std::vector<ScoredAnswer>& answers) {
    std::vector<double> gaps;
    for (auto& [group, members] : by_group(answers))
        for (const ScoredAnswer& better : members)
            for (const ScoredAnswer& worse : members)
                if (better.right && !worse.right) gaps.push_back(better.score - worse.score);
    return gaps;
}

double area_under_curve(std::vector<ScoredAnswer> answers) {
    sort_by_score(answers);
    double below = 0, won = 0, rights = 0; // wrong answers with a lower score
    for (size_t first = 0, last; first < answers.size(); first = last) {
        last = block_end(answers, first);
        double wrong = 0, right = 0;
        for (size_t i = first; i < last; ++i) ++(answers[i].right ? right : wrong);
        won += right * (below + wrong / 2);
        below += wrong, rights += right;
    }
    return rights > 0 && below > 0 ? won / (rights * below) : NAN;
}

// C(k, n) / C(N, n)
static double share_of_draws(size_t k, size_t N, int n) {
    double share = 1;
    for (int i = 0; i < n; ++i) share *= k > (size_t)i ? (double)(k - i) / (double)(N - i) : 0;
    return share;
}

double best_of(int n, const std::vector<ScoredAnswer>& answers) {
    CHECK(n >= 1, "the best of %d answers is not defined", n);
    double sum = 0, groups = 0;
    for (auto& [group, members] : by_group(answers)) {
        if ((int)members.size() < n) continue;
        std::vector<ScoredAnswer> sorted = members;
        sort_by_score(sorted);
        ++groups;
        for (size_t first = 0, last; first < sorted.size(); first = last) {
            last = block_end(sorted, first);
            double right = 0;
            for (size_t i = first; i < last; ++i) right += sorted[i].right;
            sum +=
                right / (double)(last - first) *
                (share_of_draws(last, sorted.size(), n) - share_of_draws(first, sorted.size(), n));
        }
    }
    return groups > 0 ? sum / groups : NAN;
}

double pass_at(int n, const std::vector<ScoredAnswer>& answers) {
    std::vector<ScoredAnswer> known = answers;
    for (ScoredAnswer& answer : known) answer.score = answer.right;
    return best_of(n, known);
}

Calibration calibrate(const std::vector<double>& gaps, double beta, int bins) {
    Calibration calibration;
    calibration.bins.resize(bins);
    for (double gap : gaps) {
        const double p = sigmoid(beta * std::abs(gap));
        CalibrationBin& bin = calibration.bins[std::min(bins - 1, (int)((p - 0.5) * 2 * bins))];
        bin.predicted += p, bin.observed += win(gap), ++bin.count;
    }
    for (CalibrationBin& bin : calibration.bins) {
        if (!bin.count) continue;
        bin.predicted /= bin.count, bin.observed /= bin.count;
        calibration.expected_error +=
            (double)bin.count / (double)gaps.size() * std::abs(bin.predicted - bin.observed);
    }
    return calibration;
}
