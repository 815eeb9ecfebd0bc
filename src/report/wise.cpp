#include "report/wise.h"

#include "base/check.h"
#include "report/page.h"

#include <algorithm>

static std::string table_html(const ConfusionTable& table) {
    std::string html =
        "<h3>" + escape(table.name) + "</h3>\n<table><tr><th>gold \u2193, said \u2192</th>";
    for (const std::string& label : table.labels)
        html += "<th class=\"n\">" + escape(label) + "</th>";
    html += "<th class=\"n\">recall</th></tr>\n";
    for (size_t row = 0; row < table.labels.size(); ++row) {
        int all = 0;
        for (int count : table.count[row]) all += count;
        if (all == 0) continue;
        html += "<tr><th>" + escape(table.labels[row]) + "</th>";
        for (size_t column = 0; column < table.labels.size(); ++column) {
            const int count = table.count[row][column];
            const char* kind = count == 0 ? "dim" : row == column ? "good" : "bad";
            html += format("<td class=\"n %s\">%d</td>", kind, count);
        }
        html +=
            "<td class=\"n\">" + short_number((double)table.count[row][row] / all) + "</td></tr>\n";
    }
    return html + "</table>\n";
}

static std::string dialogue_html(const Dialogue& dialogue) {
    std::string html = "<h3>" + escape(dialogue.name) +
                       "</h3>\n<table><tr><th>stage</th>"
                       "<th>said</th><th>gold, where it differs</th></tr>\n";
    for (const DialogueTurn& turn : dialogue.turns) {
        html += "<tr><td><b>user</b></td><td class=\"text\" colspan=\"2\"><b>" + escape(turn.user) +
                "</b></td></tr>\n";
        for (const DialogueStage& stage : turn.stages)
            html += "<tr><td class=\"dim\">" + escape(stage.name) + "</td><td class=\"text\">" +
                    (stage.right ? "" : "<span class=\"bad\">\u2717</span> ") + escape(stage.said) +
                    "</td><td class=\"text dim\">" + escape(stage.right ? "" : stage.gold) +
                    "</td></tr>\n";
    }
    return html + "</table>\n";
}

std::string wise_html(const WiseRecord& record) {
    std::string html = "<h2>Conversational search</h2>\n<dl>";
    for (const auto& [name, value] : record.metrics)
        html += "<div><dt>" + escape(name) + "</dt><dd>" + short_number(value) + "</dd></div>\n";
    html += "</dl>\n";
    for (const ConfusionTable& table : record.tables) html += table_html(table);
    for (const Dialogue& dialogue : record.dialogues) html += dialogue_html(dialogue);
    return html;
}
