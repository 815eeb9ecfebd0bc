"""Generation side by side: llama.cpp's own batched benchmark against `rlhf bench generate`.

    pip download --no-deps --no-binary :all: llama-cpp-python     # its source archive carries llama.cpp whole
    tar xzf llama_cpp_python-*.tar.gz
    cmake -S llama_cpp_python-*/vendor/llama.cpp -B llama -G Ninja -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF \\
          -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_TESTS=OFF
    ninja -C llama llama-batched-bench
    python llama_cpp_python-*/vendor/llama.cpp/convert_hf_to_gguf.py DIR --outtype f32 --outfile f32.gguf   # and bf16
    python tests/reference/bench_llama_cpp.py --model DIR --gguf f32.gguf --dtype f32 --llama llama/bin/llama-batched-bench

--gguf is the directory's model in the GGUF format with --dtype weights. Prompts of --prompt tokens, --new tokens
each, in batches of --batch. llama.cpp's rate is the best of --repeats runs, ours the median.
"""

import argparse
import json
import subprocess

import common

parser = argparse.ArgumentParser()
parser.add_argument("--model", required=True)
parser.add_argument("--gguf", required=True)
parser.add_argument("--llama", required=True)
parser.add_argument("--dtype", default="f32", choices=["f32", "bf16"])
parser.add_argument("--batch", type=int, nargs="+", default=[1, 32])
parser.add_argument("--prompt", type=int, default=128)
parser.add_argument("--new", type=int, default=64)
parser.add_argument("--repeats", type=int, default=3)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--rlhf", default="build/rlhf")
parser.add_argument("--peer-only", action="store_true")
args = parser.parse_args()

for batch in args.batch:
    best = {"speed_pp": 0.0, "speed_tg": 0.0}
    for _ in range(args.repeats):
        out = subprocess.run([args.llama, "-m", args.gguf, "-c", str(batch * (args.prompt + args.new)), "-b", "2048", "-ub", "512",
                              "-npp", str(args.prompt), "-ntg", str(args.new), "-npl", str(batch),
                              "-t", str(args.threads), "-tb", str(args.threads), "--output-format", "jsonl"],
                             check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
        row = json.loads([line for line in out.splitlines() if line.startswith("{")][-1])
        for key in best:
            best[key] = max(best[key], row[key])
    print(f"llama.cpp {args.dtype}, batch {batch}: prompts {best['speed_pp']:.1f} tokens/s, decoding {best['speed_tg']:.1f}", flush=True)
    if args.peer_only:
        continue
    ours = json.loads(common.rlhf(args.rlhf, "bench", "generate", f"model.path={args.model}", f"bench.batch={batch}",
                                  f"bench.prompt_tokens={args.prompt}", f"bench.new_tokens={args.new}",
                                  f"bench.repeats={args.repeats}", f"compute.gemm={args.dtype}",
                                  f"compute.threads={args.threads}", "format=json"))
    print(f"rlhf {args.dtype}, batch {batch}: prompts {ours['prefill_tokens_per_s']:.1f} tokens/s, decoding {ours['decode_tokens_per_s']:.1f}")
    print(f"ratio rlhf / llama.cpp, batch {batch}: prompts {ours['prefill_tokens_per_s'] / best['speed_pp']:.2f}, "
          f"decoding {ours['decode_tokens_per_s'] / best['speed_tg']:.2f}", flush=True)
