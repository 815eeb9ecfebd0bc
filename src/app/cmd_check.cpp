// rlhf check grad: the binary proves itself, on the machine it runs on. Exit status 2 if a check fails.

#include "app/check.h"
#include "app/commands.h"

static int cmd_check(const Args& args) {
    Args rest = args;
    rest.config_path.clear();
    if (args.config_path == "grad") return check_grad(rest);
    fail("rlhf check needs to know what: grad (central differences of every op and of whole models "
         "in "
         "f64), found \"%s\"",
         args.config_path.c_str());
}

extern const Command check_command;
const Command check_command = {"check", "check grad: every gradient against central differences",
                               cmd_check, nullptr};
