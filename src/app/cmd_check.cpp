// rlhf check grad|parity: the binary proves itself, on the machine it runs on. Exit status 2 if a check
// fails.

#include "app/check/check.h"
#include "app/commands.h"

static int cmd_check(const Args& args) {
    Args rest = args;
    rest.config_path.clear();
    if (args.config_path == "grad") return check_grad(rest);
    if (args.config_path == "parity") return check_parity(rest);
    fail("rlhf check needs to know what: grad (central differences of every op and of whole models "
         "in f64) or parity (model.path=DIR), found \"%s\"",
         args.config_path.c_str());
}

extern const Command check_command;
const Command check_command = {
    "check", "check grad: gradients against differences; check parity: the model by other roads",
    cmd_check, nullptr};
