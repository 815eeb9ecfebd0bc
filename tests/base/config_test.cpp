#include "base/config.h"
#include "base/file.h"
#include "testing.h"

#include <unistd.h>

namespace {
struct Inner {
    double lr = 0.5;
    std::string schedule = "linear";
    void visit(Fields& v) {
        v.field("lr", lr, 0, 10, "eta");
        v.choice("schedule", schedule, {"constant", "linear"}, "of the learning rate");
    }
};
struct Outer {
    int steps = 3;
    bool resume = false;
    Inner optim;
    void visit(Fields& v) {
        v.field("steps", steps, 1, 1000, "T");
        v.field("resume", resume, "");
        v.object("optim", optim, "");
    }
};

std::string message_of(const std::function<void()>& act) {
    try {
        act();
    } catch (const Error& error) {
        return error.what();
    }
    return "";
}

std::string error_of(const std::vector<std::string>& overrides) {
    return message_of([&] {
        Outer config;
        load_config(config, {"", overrides});
    });
}
} // namespace

TEST(Config, AnEnumIsReadAndPrintedByItsNames) {
    enum class Colour { red, green };
    struct Paint {
        Colour colour = Colour::green;
        void visit(Fields& v) {
            static const char* const names[] = {"red", "green"};
            v.choice("colour", colour, names, "of the wall");
            v.moved("tint", "paint.colour");
        }
    };
    Paint paint;
    load_config(paint, {"", {"colour=red"}});
    EXPECT_EQ(paint.colour, Colour::red);
    Fields fields, other;
    paint.visit(fields);
    EXPECT_EQ(config_json(fields)["colour"], "red");
    EXPECT_NE(config_help(fields).find("red|green"), std::string::npos);
    Paint green;
    green.visit(other);
    copy_field(fields.list[0], other.list[0]);
    EXPECT_EQ(paint.colour, Colour::green);
    auto error = [&](const char* word) {
        return message_of([&] { load_config(paint, {"", {word}}); });
    };
    EXPECT_NE(error("colour=blue").find("not one of: red green"), std::string::npos);
    EXPECT_NE(error("tint=red").find("called paint.colour now"), std::string::npos);
}

TEST(Config, OverridesReachNestedFieldsAndKeepTypes) {
    Outer config;
    load_config(config,
                {"", {"steps=7", "optim.lr=1e-3", "optim.schedule=constant", "resume=true"}});
    EXPECT_EQ(config.steps, 7);
    EXPECT_EQ(config.optim.lr, 1e-3);
    EXPECT_EQ(config.optim.schedule, "constant");
    EXPECT_TRUE(config.resume);
}

TEST(Config, ErrorsNameKeyValueAndTheNearestKey) {
    EXPECT_NE(error_of({"optim.lt=1"}).find("optim.lr"), std::string::npos);
    EXPECT_NE(error_of({"steps=0"}).find("1 .. 1000"), std::string::npos);
    EXPECT_NE(error_of({"steps=2.5"}).find("an integer"), std::string::npos);
    EXPECT_NE(error_of({"optim.schedule=cosin"}).find("constant linear"), std::string::npos);
    EXPECT_NE(error_of({"optim=3"}).find("optim.KEY=value"), std::string::npos);
    EXPECT_NE(error_of({"resume=1"}).find("true or false"), std::string::npos);
}

TEST(Config, FileErrorsNameTheFile) {
    std::string path = testing::TempDir() + "config_test.json";
    write_file(path, "{\"optim\": {\"lr\": \"fast\"}}");
    std::string message = message_of([&] {
        Outer config;
        load_config(config, {path, {}});
    });
    EXPECT_NE(message.find(path), std::string::npos);
    EXPECT_NE(message.find("optim.lr must be a number"), std::string::npos);
}

TEST(Config, TheEffectiveConfigurationReadsBackAndDiffers) {
    Outer config;
    config.optim.lr = 0.1;
    Fields fields;
    config.visit(fields);
    Json saved = config_json(fields);
    EXPECT_TRUE(config_changes(fields, saved).empty());
    Outer other;
    Fields other_fields;
    other.visit(other_fields);
    EXPECT_EQ(config_changes(other_fields, saved), std::vector<std::string>{"optim.lr"});
    read_config_json(other_fields, saved, "saved");
    EXPECT_EQ(other.optim.lr, 0.1);
}
