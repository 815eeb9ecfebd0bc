#include "task/mini_wise.h"

#include "base/rng.h"
#include "format/tokenizer_file.h"
#include "task/wise_text.h"
#include "text/unicode.h"

#include <algorithm>
#include <set>

void MiniWiseConfig::visit(Fields& v) {
    v.field("seed", seed, 0, 9e15, "of the conversations");
    v.field("turns", turns, 0, 1e12, "different training turns; 0: never the same twice");
    v.field("absent", absent, 0, 1, "probability that no passage has the property asked for");
    v.field("part", part,
            "what is trained on: train, or for pre-training qa, chat, triples and reading, several "
            "joined by +");
    v.choice("held_out", held_out, {"valid", "testseen", "testunseen"}, "what is evaluated on");
    v.choice("pretrain_topics", pretrain_topics, {"seen", "all"},
             "of qa, chat, triples and reading: all tells pre-training the topics that testunseen "
             "holds out");
}

namespace {

const char* const town_begins[] = {"Lo", "Mi", "Va", "Te", "Ru", "Ka", "Be", "So", "Ni", "Da"};
const char* const town_ends[] = {"dora", "vik",  "mont", "ford", "stad",
                                 "lin",  "rona", "gard", "pel",  "zen"};
const char* const kinds[] = {"city", "river", "north", "south",  "royal",
                             "old",  "new",   "grand", "little", "green"};
const char* const places[] = {"museum", "library", "garden", "theatre", "market", "harbour"};
const char* const aspects[] = {"price", "hours", "phone", "age",
                               "size",  "seats", "rooms", "floors"};
constexpr int towns = 100, topics = 60, aspect_count = 8, first_value = 11, values = 89;

bool unseen(int topic) { return (topic / 6 + topic % 6) % 3 == 0; }

std::string place_name(int town, int topic) {
    return std::string(town_begins[town / 10]) + town_ends[town % 10] + " " + kinds[topic / 6] +
           " " + places[topic % 6];
}

// A conversation's place with its values; an aspect that is absent (-1: none) has no passage.
struct Place {
    std::string name;
    Document document;
    std::vector<int> value; // by aspect
    int absent = -1;
    std::string query(int aspect) const { return name + " " + aspects[aspect]; }
    std::string passage(int aspect) const {
        return id_text(document.id) + "-" + std::to_string(aspect);
    }
};

// Where each part's conversations begin among the topics, in hundreds: up to there the places of all parts
// are different ones, so that a search in all documents has one answer.
int first_topic(MiniWisePart part) {
    switch (part) {
    case MiniWisePart::valid:
        return 16;
    case MiniWisePart::testseen:
        return 18;
    case MiniWisePart::qa:
        return 22;
    case MiniWisePart::chat:
        return 26;
    case MiniWisePart::triples:
        return 30;
    case MiniWisePart::reading:
        return 34;
    default:
        return 0;
    }
}

bool is_pretraining(MiniWisePart part) { return part > MiniWisePart::testunseen; }

// Pair i of matching m of n things, each of which has another partner in every matching: the circle method for
// tournaments.
std::pair<int, int> matched(int n, int m, int i) {
    if (i == 0) return {n - 1, m};
    return {(m + i) % (n - 1), (m + n - 1 - i) % (n - 1)};
}

// Four conversations have two towns and two topics in all combinations. Of two that are each other's other
// place (c, c ^ 1) half are in one town, and two topics may share a word: only who compares every word of
// a topic finds the right place.
std::pair<int, int> town_and_topic(int64_t c, const std::vector<int>& allowed) {
    const int64_t four = c / 4;
    const int n = (int)allowed.size(), town_pair = (int)(four % (towns / 2));
    const int round = (int)(four / (towns / 2) % (n / 2));
    const auto [x, y] = matched(n, town_pair % (n - 1), (round * 7 + town_pair) % (n / 2));
    const int topic = (int)(c & 1), four_half = (int)(c >> 1 & 1);
    const bool one_town = (town_pair + round) % 2 == 0;
    const int town = one_town ? four_half : topic ^ four_half;
    return {2 * town_pair + town, allowed[topic ? y : x]};
}

Place make_place(const MiniWiseConfig& config, MiniWisePart part, int64_t c) {
    Rng rng((uint64_t)config.seed, (uint64_t)part << 48 | 1ULL << 47 | (uint64_t)c);
    std::vector<int> allowed;
    for (int topic = 0; topic < topics; ++topic)
        if ((is_pretraining(part) && config.pretrain_topics == "all") ||
            unseen(topic) == (part == MiniWisePart::testunseen))
            allowed.push_back(topic);
    const auto [town, topic] = town_and_topic(c + 100 * first_topic(part), allowed);
    Place place;
    place.name = place_name(town, topic);
    // The two places of a conversation share no value: a response tells whose passage it comes from.
    std::vector<int> drawn(values);
    for (int i = 0; i < values; ++i) drawn[i] = first_value + i;
    Rng(mix64((uint64_t)config.seed), (uint64_t)part << 48 | (uint64_t)c / 2).shuffle(drawn);
    const auto own = drawn.begin() + c % 2 * aspect_count;
    place.value.assign(own, own + aspect_count);
    if (!is_pretraining(part) && rng.uniform() < 4 * config.absent / 3)
        place.absent = rng.below(aspect_count);
    place.document = {(int64_t)part * 100000000 + c, place.name, {}};
    for (int a = 0; a < aspect_count; ++a)
        if (a != place.absent)
            place.document.passages.push_back({a, format("the %s of the %s is %d", aspects[a],
                                                         place.name.c_str(), place.value[a])});
    return place;
}

// What is said, in one of several wordings. %a: the aspect, %b: a second one, %e: the place, %v: a value.
using Wordings = std::vector<const char*>;
const Wordings says_place = {"tell me about the %e", "i am interested in the %e", "the %e"};
const Wordings asks = {"what is the %a of the %e ?", "i need the %a of the %e"};
const Wordings chooses = {"the %a please", "i mean the %a"};
const Wordings asks_on = {"and the %a ?", "what about the %a ?"};
const Wordings corrects = {"no , rather the %a", "sorry , i mean the %a"};
const Wordings wants_link = {"give me a link", "is there a page ?"};
const Wordings thanks = {"thanks , that is good", "very good , thanks"};
const Wordings greets = {"hello , how are you ?", "good morning"};
const char* const clarify = "do you mean the %a or the %b ?";
const char* const answer = "the %a is %v";
const char* const no_answer = "i found nothing about the %a";
const char* const link = "see the page of the %e";
const char* const recommend = "ask me more about the %e";
const char* const greeting = "hello , how can i help ?";
const char* const mentions = "you ask about the %a of the %e"; // of the parts without passages
const Wordings all_wordings[] = {
    says_place, asks,     chooses,
    asks_on,    corrects, wants_link,
    thanks,     greets,   {clarify, answer, no_answer, link, recommend, greeting, mentions}};

struct Meant {
    int aspect = -1, second = -1;
    const Place* place = nullptr;
};
std::string worded(const std::string& wording, const Meant& meant) {
    std::string text;
    for (size_t i = 0; i < wording.size(); ++i) {
        if (wording[i] != '%') {
            text += wording[i];
            continue;
        }
        switch (wording[++i]) {
        case 'a':
            text += aspects[meant.aspect];
            break;
        case 'b':
            text += aspects[meant.second];
            break;
        case 'e':
            text += meant.place->name;
            break;
        default:
            text += std::to_string(meant.place->value[meant.aspect]);
        }
    }
    return text;
}
std::string worded(const Wordings& wordings, const Meant& meant, Rng& rng) {
    return worded(wordings[rng.below((int)wordings.size())], meant);
}

// The conversation as it grows.
struct Talk {
    Rng& rng;
    const Place &place, &other;
    std::set<int> asked{}; // aspects
    int last = -1;         // aspect that was answered last; -1: none, or not answered
    std::vector<WiseUtterance> utterances{};

    void add(WiseUtterance utterance) {
        utterance.msg_id = (int64_t)utterances.size();
        utterance.turn_id = (int64_t)utterances.size() / 2;
        utterances.push_back(std::move(utterance));
    }
    void user(const char* intent, const std::string& text) {
        WiseUtterance u;
        u.intent = wise_intent(intent), u.response = text;
        add(std::move(u));
    }
    int new_aspect() {
        int aspect;
        do aspect = rng.below(aspect_count);
        while (asked.count(aspect));
        asked.insert(aspect);
        return aspect;
    }
    int another(int aspect) {
        int other_one = rng.below(aspect_count - 1);
        return other_one + (other_one >= aspect);
    }
    // The wizard's utterance with candidates about two aspects of both places.
    WiseUtterance wizard(const char* action, int a, int b, const std::string& text) {
        WiseUtterance u;
        u.system = true, u.action = wise_action(action), u.response = text;
        for (const Place* one : {&place, &other})
            for (int aspect : {a, b}) u.query_candidates.push_back(one->query(aspect));
        for (const Place* one : {&place, &other})
            for (int aspect : {a, b}) {
                int shown = aspect;
                while (shown == one->absent || (shown != aspect && (shown == a || shown == b)))
                    shown = rng.below(aspect_count);
                u.passage_candidates.push_back(one->passage(shown));
            }
        return u;
    }
    void answers(int aspect) {
        const Meant meant{aspect, -1, &place};
        const bool known = aspect != place.absent;
        WiseUtterance u = wizard(known ? "Answer-fact-text" : "Answer-NoAnswer", aspect,
                                 another(aspect), worded(known ? answer : no_answer, meant));
        u.keyphrases = {place.name, aspects[aspect]};
        u.selected_queries = {place.query(aspect)};
        if (known) u.selected_passages = {place.passage(aspect)};
        u.contains = {known ? std::to_string(place.value[aspect]) : "nothing"};
        last = known ? aspect : -1;
        add(std::move(u));
    }
    int named_place() { // the user names it alone; the wizard's question
        user("Reveal", worded(says_place, {-1, -1, &place}, rng));
        int a = new_aspect(), b = new_aspect();
        const Meant meant{std::min(a, b), std::max(a, b), &place};
        WiseUtterance u = wizard("Clarify-Choice", a, b, worded(clarify, meant));
        u.keyphrases = {place.name};
        u.selected_queries = {place.query(meant.aspect), place.query(meant.second)};
        u.contains = {aspects[meant.aspect], aspects[meant.second]};
        add(std::move(u));
        return rng.below(2) ? a : b;
    }
    void asks_for_link() {
        const Meant meant{last, -1, &place};
        user("Request-Link", worded(wants_link, meant, rng));
        WiseUtterance u = wizard("Answer-Link", last, another(last), worded(link, meant));
        u.keyphrases = {place.name, aspects[last]};
        u.selected_queries = {place.query(last)};
        u.selected_passages = {place.passage(last)};
        u.contains = {place.name};
        add(std::move(u));
    }
    void gives_thanks() {
        const Meant meant{-1, -1, &place};
        user("Feedback-Good", worded(thanks, meant, rng));
        const int a = rng.below(aspect_count);
        WiseUtterance u = wizard("Recommend", a, another(a), worded(recommend, meant));
        u.keyphrases = {place.name};
        add(std::move(u));
    }
    void says_hello() {
        user("Chitchat", worded(greets, {}, rng));
        const int a = rng.below(aspect_count);
        add(wizard("Chitchat", a, another(a), greeting));
    }
};

void ordinary(Talk& talk) {
    Rng& rng = talk.rng;
    int turns = 0;
    if (rng.uniform() < 0.2) talk.says_hello(), ++turns;
    // The aspect without a passage is one of those that will be asked for.
    auto next = [&] {
        const int aspect = talk.place.absent;
        if (aspect < 0 || talk.asked.count(aspect) || rng.uniform() < 0.5) return talk.new_aspect();
        talk.asked.insert(aspect);
        return aspect;
    };
    auto meant = [&](int aspect) { return Meant{aspect, -1, &talk.place}; };
    if (rng.uniform() < 0.5) {
        const int aspect = talk.named_place();
        talk.user("Interpret", worded(chooses, meant(aspect), rng));
        talk.answers(aspect);
        turns += 2;
    } else {
        const int aspect = next();
        talk.user("Reveal", worded(asks, meant(aspect), rng));
        talk.answers(aspect);
        ++turns;
    }
    for (; turns < mini_wise_turns; ++turns) {
        const double choice = rng.uniform();
        if (choice < 0.2 && talk.last >= 0) {
            talk.asks_for_link();
        } else if (choice < 0.3) {
            talk.gives_thanks();
        } else {
            const int aspect = next();
            const bool revises = choice < 0.5;
            talk.user(revises ? "Revise" : "Reveal",
                      worded(revises ? corrects : asks_on, meant(aspect), rng));
            talk.answers(aspect);
        }
    }
}

// The pre-training parts: questions that name everything, and what a part does not know left out.
void pretraining(Talk& talk, MiniWisePart part) {
    for (int turn = 0; turn < mini_wise_turns; ++turn) {
        const int aspect = talk.new_aspect();
        const Meant meant{aspect, -1, &talk.place};
        talk.user("Reveal", worded(asks, meant, talk.rng));
        talk.answers(aspect);
        WiseUtterance& u = talk.utterances.back();
        if (part != MiniWisePart::chat && part != MiniWisePart::triples) continue;
        u.passage_candidates.clear(), u.selected_passages.clear();
        if (part == MiniWisePart::chat) {
            u.response = worded(mentions, meant), u.contains = {talk.place.name};
            continue;
        }
        // A triple says the value as well.
        u.query_candidates.clear();
        const int b = talk.another(aspect);
        for (const Place* one : {&talk.place, &talk.other})
            for (int a : {aspect, b})
                u.query_candidates.push_back(one->query(a) + " " + std::to_string(one->value[a]));
        u.selected_queries = {u.query_candidates[0]};
    }
}

std::array<bool, wise_stages> labels_of(MiniWisePart part) {
    switch (part) { //                       id     ke     ap     qs     ps     rg
    case MiniWisePart::qa:
        return {false, false, false, false, true, true};
    case MiniWisePart::chat:
        return {false, true, false, true, false, true};
    case MiniWisePart::triples:
        return {false, true, false, true, false, true};
    case MiniWisePart::reading:
        return {true, true, true, false, true, true};
    default:
        return {true, true, true, true, true, true};
    }
}

} // namespace

MiniWiseWorld mini_wise(const MiniWiseConfig& config, MiniWisePart part, int64_t c) {
    Rng rng((uint64_t)config.seed, (uint64_t)part << 48 | (uint64_t)c);
    // The other place is that of the next conversation, or of the one before.
    const Place place = make_place(config, part, c), other = make_place(config, part, c ^ 1);
    Talk talk{rng, place, other};
    if (is_pretraining(part))
        pretraining(talk, part);
    else
        ordinary(talk);

    MiniWiseWorld world;
    world.conversation.id = (int64_t)part * 100000000 + c;
    world.conversation.background = "visits the " + place.name;
    world.conversation.utterances = std::move(talk.utterances);
    world.conversation.labelled = labels_of(part);
    world.conversation.where =
        format("mini_wise %s, conversation %lld", mini_wise_parts[(int)part], (long long)c);
    world.documents = {place.document, other.document};
    for (int a = 0; a < aspect_count; ++a) world.queries.push_back(place.query(a));
    return world;
}

// ---- Vocabulary ---------------------------------------------------------------------------------

static std::set<std::string> world_words() {
    std::set<std::string> words = {"|", "-", ",", "?", "is"};
    auto add = [&](const std::string& text) {
        std::string word;
        for (char c : text + " ") {
            if (c != ' ')
                word += c;
            else if (!word.empty() && word[0] != '%')
                words.insert(word), word.clear();
            else
                word.clear();
        }
    };
    for (int town = 0; town < towns; ++town) add(place_name(town, 0));
    for (int topic = 0; topic < topics; ++topic) add(place_name(0, topic));
    for (const char* aspect : aspects) add(aspect);
    for (const Wordings& wordings : all_wordings)
        for (const char* wording : wordings) add(wording);
    for (int n = 1; n < first_value + values; ++n) add(std::to_string(n));
    for (const char* label : wise_intents()) add(label);
    for (const char* label : wise_actions()) add(label);
    for (const char* field : wise_text_fields) add(field);
    return words;
}

WordVocabulary mini_wise_vocabulary() {
    Json vocab = Json::object(), added = Json::array();
    int id = 0;
    for (int32_t c : byte_alphabet()) {
        std::string token;
        append_utf8(token, c);
        vocab[token] = id++;
    }
    std::string blank;
    append_utf8(blank, byte_alphabet()[' ']);
    for (const std::string& word : world_words()) vocab[blank + word] = id++;
    WordVocabulary result;
    // Those between words take the white space before them.
    auto add = [&](const std::string& token, bool special) {
        added.push_back({{"id", id},
                         {"content", token},
                         {"single_word", false},
                         {"lstrip", !special},
                         {"rstrip", false},
                         {"normalized", false},
                         {"special", special}});
        return id++;
    };
    result.bos = add("<bos>", true), result.eos = add("<eos>", true);
    result.pad = add("<pad>", true);
    for (const std::string& token : wise_markers()) add(token, false);
    result.size = id;

    BpeFile file;
    file.added = added, file.vocab = vocab, file.ignore_merges = true;
    file.decoder = byte_level_stage(false);
    file.pre_tokenizer = split_stage(" ?[A-Za-z_-]+| ?[0-9]+| ?[^\\sA-Za-z0-9_-]+|\\s");
    result.tokenizer_json = tokenizer_file(file).dump(1) + "\n";
    result.tokenizer_config_json = Json{{"tokenizer_class", "PreTrainedTokenizerFast"},
                                        {"bos_token", "<bos>"},
                                        {"eos_token", "<eos>"},
                                        {"pad_token", "<pad>"},
                                        {"clean_up_tokenization_spaces", false}}
                                       .dump(2) +
                                   "\n";
    return result;
}
