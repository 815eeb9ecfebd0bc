"""Which tokens of a rendered conversation are trained, by the rule that README states, apart from the C++."""


def trained_by_prefixes(render, messages, ask, ids, begins, ends, stops, last_only=False):
    """The mask of a template without {% generation %} blocks, or the reason why there is none (a string).

    render(messages, ask) is the template's text; begins, ends: characters of each token in the whole text.
    """
    whole = render(messages, ask)
    turns = [i for i, message in enumerate(messages) if message["role"] == "assistant"]
    mask = [0] * len(ids)
    for i in turns[-1:] if last_only else turns:
        try:
            before = render(messages[:i], True) if i else ""
            behind = render(messages[: i + 1], False)
        except Exception as error:
            return f"messages[{i}]: {type(error).__name__}"
        if not behind.startswith(before):
            return f"messages[{i}]: no prefix"
        common = next((k for k, (a, b) in enumerate(zip(behind, whole)) if a != b), min(len(behind), len(whole)))
        ended = [t for t in range(len(ids)) if begins[t] >= len(before) and ends[t] <= common and ids[t] in stops]
        if common < len(before) or (not ended and common < len(behind)):
            return f"messages[{i}]: changes"
        end = ends[ended[0]] if ended else len(behind)
        for t in range(len(ids)):
            if len(before) <= begins[t] < end:
                mask[t] = 1
    return mask


def trained_by_blocks(spans, begins, ends):
    """The mask of generation blocks: tokens that lie inside of one."""
    return [int(any(a <= begin and end <= b for a, b in spans)) for begin, end in zip(begins, ends)]


def token_ends(begins, length):
    """A token reaches to the next one's beginning."""
    return begins[1:] + [length]
