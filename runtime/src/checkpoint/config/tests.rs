//! Configurations of both styles, field by field.

use serde_json::{Value, json};

use super::*;

/// What most models share, with `changes`; the text "absent" removes a field.
fn with(changes: Value) -> Object {
    let mut value = json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 128,
        "max_position_embeddings": 256,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "hidden_act": "silu",
        "tie_word_embeddings": true,
        "bos_token_id": 1,
        "eos_token_id": 2,
    });
    let object = value.as_object_mut().expect("object");
    for (name, change) in changes.as_object().expect("changes") {
        match change {
            Value::String(text) if text == "absent" => drop(object.remove(name)),
            change => drop(object.insert(name.clone(), change.clone())),
        }
    }
    object.clone()
}

fn read(changes: Value) -> Result<(Config, SpecialTokens), Error> {
    let (config, special, _) = parse(Path::new("model/config.json"), &with(changes))?;
    Ok((config, special))
}

fn good(changes: Value) -> Config {
    read(changes.clone()).unwrap_or_else(|e| panic!("{changes}: {e}")).0
}

/// The message of a refusal; it must name the file and `field`.
fn refused(field: &str, changes: Value) -> String {
    let message = match read(changes.clone()) {
        Err(error) => error.to_string(),
        Ok((config, _)) => panic!("{changes} gave {config:?}"),
    };
    assert!(message.contains("model/config.json"), "{message}");
    assert!(message.contains(field), "{field} is not named: {message}");
    message
}

fn family(model_type: &str, architecture: &str, mut changes: Value) -> Value {
    changes["model_type"] = json!(model_type);
    changes["architectures"] = json!([architecture]);
    changes
}

fn mistral(changes: Value) -> Value {
    family("mistral", "MistralForCausalLM", changes)
}

fn qwen2(changes: Value) -> Value {
    family("qwen2", "Qwen2ForCausalLM", changes)
}

fn qwen3(changes: Value) -> Value {
    family("qwen3", "Qwen3ForCausalLM", changes)
}

#[test]
fn both_styles_give_the_same_model() {
    let llama3 = json!({
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    });
    let mut inner = llama3.clone();
    inner["rope_theta"] = json!(500000.0);
    let old = json!({
        "rope_theta": 500000.0, "rope_scaling": llama3, "torch_dtype": "bfloat16",
    });
    let new = json!({
        "rope_theta": "absent", "rope_parameters": inner, "dtype": "bfloat16",
    });
    assert_eq!(good(old), good(new));
    let old = json!({"rope_scaling": null});
    let new = json!({
        "rope_theta": "absent",
        "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"},
    });
    assert_eq!(good(old), good(new));
}

#[test]
fn fields_reach_the_configuration() {
    let (config, special) = read(json!({"eos_token_id": [2, 7]})).expect("llama");
    let expected = Config {
        family: Family::Llama,
        dim: 64,
        hidden: 96,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        head_dim: 16,
        vocab: 128,
        max_context: 256,
        norm_eps: 1e-5,
        rope_theta: 1e4,
        rope_scaling: RopeScaling::None,
        tied: true,
        qkv_bias: false,
        o_bias: false,
        mlp_bias: false,
        qk_norm: false,
    };
    assert_eq!(config, expected);
    assert_eq!(special, SpecialTokens { bos: Some(1), eos: vec![2, 7] });
    let biased = good(json!({"attention_bias": true, "mlp_bias": true, "head_dim": 10}));
    let flags = Config { qkv_bias: true, o_bias: true, mlp_bias: true, head_dim: 10, ..expected };
    assert_eq!(biased, flags);
}

#[test]
fn absent_fields_mean_what_transformers_makes_of_them() {
    assert_eq!(good(json!({"num_key_value_heads": "absent"})).kv_heads, 4);
    assert_eq!(good(json!({"rms_norm_eps": "absent"})).norm_eps, 1e-6);
    assert_eq!(good(json!({"rope_theta": "absent"})).rope_theta, 1e4);
    assert!(!good(json!({"tie_word_embeddings": "absent"})).tied);
    assert_eq!(good(qwen3(json!({}))).head_dim, 128);
    assert_eq!(good(qwen2(json!({}))).head_dim, 16);
    let llama3 = json!({
        "rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4,
    });
    let RopeScaling::Llama3 { original_max_position_embeddings, .. } =
        good(json!({"rope_scaling": llama3})).rope_scaling
    else {
        panic!("no scaling");
    };
    assert_eq!(original_max_position_embeddings, 256);
    let none = parse(Path::new("c"), &with(json!({"bos_token_id": null, "eos_token_id": null})));
    assert_eq!(none.expect("no tokens").1, SpecialTokens::default());
}

#[test]
fn families_differ_in_their_flags() {
    let flags = |c: Config| (c.qkv_bias, c.o_bias, c.mlp_bias, c.qk_norm);
    let on = || json!({"attention_bias": true, "mlp_bias": true, "sliding_window": null});
    assert_eq!(flags(good(mistral(on()))), (false, false, false, false));
    assert_eq!(flags(good(qwen2(json!({})))), (true, false, false, false));
    assert_eq!(flags(good(qwen3(json!({})))), (false, false, false, true));
    assert_eq!(flags(good(qwen3(on()))), (true, true, false, true));
    assert_eq!(good(json!({"model_type": "absent"})).family, Family::Llama);
    assert_eq!(good(json!({"architectures": "absent"})).family, Family::Llama);
}

#[test]
fn an_unknown_architecture_is_refused() {
    let none = json!({"model_type": "absent", "architectures": "absent"});
    refused("model_type", none);
    assert!(refused("model_type", json!({"model_type": "gpt2"})).contains("gpt2"));
    let other = json!({"architectures": ["GPT2LMHeadModel"]});
    assert!(refused("architectures", other).contains("GPT2LMHeadModel"));
    refused("architectures", json!({"architectures": ["LlamaForSequenceClassification"]}));
    refused("architectures", json!({"architectures": "LlamaForCausalLM"}));
    refused("model_type", json!({"architectures": ["MistralForCausalLM"]}));
    refused("model_type", json!({"model_type": 7}));
}

#[test]
fn each_unsupported_field_is_refused_by_its_name() {
    for (field, value) in [
        ("hidden_act", json!("gelu")),
        ("quantization_config", json!({"quant_method": "gptq"})),
        ("torch_dtype", json!("float8_e4m3fn")),
        ("dtype", json!("int8")),
        ("partial_rotary_factor", json!(0.5)),
        ("layer_types", json!(["full_attention", "linear_attention"])),
        ("layer_types", json!(["full_attention", "sliding_attention"])),
    ] {
        refused(field, json!({ field: value }));
    }
    for kind in ["linear", "dynamic", "yarn", "longrope", ""] {
        let name = |key: &str| json!({key: kind, "factor": 2.0});
        refused("rope_scaling.rope_type", json!({"rope_scaling": name("rope_type")}));
        refused("rope_scaling.type", json!({"rope_scaling": name("type")}));
        refused("rope_parameters.rope_type", json!({"rope_parameters": name("rope_type")}));
    }
    let half = json!({"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.25}});
    refused("rope_parameters.partial_rotary_factor", half);
    let nested = json!({"rope_parameters": {"full_attention": {"rope_theta": 1e6}}});
    refused("rope_parameters.full_attention", nested);
    let no_factor = json!({"rope_scaling": {"rope_type": "llama3"}});
    refused("rope_scaling.factor", no_factor);
}

#[test]
fn a_sliding_window_is_refused_just_when_it_is_in_use() {
    let window = "sliding_window";
    // Mistral: in use unless null; absent means 4096.
    good(mistral(json!({"sliding_window": null})));
    good(mistral(json!({"sliding_window": 256})));
    good(mistral(json!({})));
    refused(window, mistral(json!({"sliding_window": 255})));
    refused(window, mistral(json!({"max_position_embeddings": 4097})));
    // Qwen: behind a switch, from a layer on.
    for qwen in [qwen2, qwen3] {
        let on = json!({"use_sliding_window": true, "sliding_window": 64, "max_window_layers": 1});
        refused(window, qwen(on.clone()));
        for (field, harmless) in [
            ("use_sliding_window", json!(false)),
            ("use_sliding_window", json!("absent")),
            ("sliding_window", json!(256)),
            ("sliding_window", json!(null)),
            ("max_window_layers", json!(2)),
            ("max_window_layers", json!("absent")),
            ("layer_types", json!(["full_attention", "full_attention"])),
        ] {
            let mut changes = on.clone();
            changes[field] = harmless;
            good(qwen(changes));
        }
        let mut typed = on.clone();
        typed["max_window_layers"] = json!(28);
        typed["layer_types"] = json!(["full_attention", "sliding_attention"]);
        refused(window, qwen(typed.clone()));
        typed["use_sliding_window"] = json!(false);
        refused("layer_types", qwen(typed));
    }
    // Llama has none, so a short one tells of another model.
    refused(window, json!({"sliding_window": 64}));
    good(json!({"sliding_window": 64, "use_sliding_window": false}));
    good(json!({"sliding_window": null}));
}

#[test]
fn missing_negative_huge_and_odd_sizes_are_refused_by_their_names() {
    let sizes = [
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "vocab_size",
        "max_position_embeddings",
    ];
    for field in sizes {
        assert!(refused(field, json!({field: "absent"})).contains("is missing"));
    }
    for field in sizes.into_iter().chain(["num_key_value_heads", "head_dim"]) {
        let values =
            [json!(0), json!(-1), json!(2.5), json!("64"), json!(1e30), json!(u64::MAX), json!([])];
        for value in values {
            refused(field, json!({ field: value }));
        }
        refused(field, json!({field: 1_u64 << 40}));
    }
    refused("num_attention_heads", json!({"num_attention_heads": 5}));
    refused("num_key_value_heads", json!({"num_key_value_heads": 3}));
    refused("head_dim", json!({"head_dim": 7}));
    refused("rms_norm_eps", json!({"rms_norm_eps": 0}));
    refused("rms_norm_eps", json!({"rms_norm_eps": "1e-5"}));
    refused("rope_theta", json!({"rope_theta": 1e300}));
    refused("rope_theta", json!({"rope_theta": -10000.0}));
    refused("attention_bias", json!({"attention_bias": 1}));
    refused("tie_word_embeddings", json!({"tie_word_embeddings": "yes"}));
    refused("eos_token_id", json!({"eos_token_id": -1}));
    refused("eos_token_id", json!({"eos_token_id": [1, "2"]}));
    refused("rope_scaling", json!({"rope_scaling": "linear"}));
}

#[test]
fn a_long_value_is_cut_in_the_message() {
    let message = refused("vocab_size", json!({"vocab_size": "9".repeat(10_000)}));
    assert!(message.len() < 300, "{message}");
}

#[test]
fn generation_config_goes_before_config() {
    let file = Path::new("model/generation_config.json");
    let config = SpecialTokens { bos: Some(1), eos: vec![2] };
    let read = |json: Value| generation(file, json.as_object().expect("object"), config.clone());
    let both = read(json!({"bos_token_id": 5, "eos_token_id": [6, 7]})).expect("both");
    assert_eq!(both, SpecialTokens { bos: Some(5), eos: vec![6, 7] });
    assert_eq!(read(json!({})).expect("none"), config);
    let message = read(json!({"eos_token_id": "</s>"})).expect_err("text").to_string();
    assert!(message.contains("generation_config.json") && message.contains("eos_token_id"));
}

/// The fields that matter of configurations as they are published.
#[test]
fn configurations_of_published_models_are_read() {
    let sizes = |c: Config| (c.dim, c.layers, c.heads, c.kv_heads, c.head_dim, c.tied, c.qkv_bias);
    let smollm2 = json!({
        "architectures": ["LlamaForCausalLM"], "attention_bias": false, "bos_token_id": 1,
        "eos_token_id": 2, "hidden_act": "silu", "hidden_size": 576, "intermediate_size": 1536,
        "is_llama_config": true, "max_position_embeddings": 8192, "mlp_bias": false,
        "model_type": "llama", "num_attention_heads": 9, "num_hidden_layers": 30,
        "num_key_value_heads": 3, "pad_token_id": 2, "pretraining_tp": 1, "rms_norm_eps": 1e-5,
        "rope_interleaved": false, "rope_scaling": null, "rope_theta": 100000,
        "tie_word_embeddings": true, "torch_dtype": "bfloat16", "vocab_size": 49152,
    });
    let qwen25 = json!({
        "architectures": ["Qwen2ForCausalLM"], "bos_token_id": 151643, "eos_token_id": 151645,
        "hidden_act": "silu", "hidden_size": 896, "intermediate_size": 4864,
        "max_position_embeddings": 32768, "max_window_layers": 21, "model_type": "qwen2",
        "num_attention_heads": 14, "num_hidden_layers": 24, "num_key_value_heads": 2,
        "rms_norm_eps": 1e-6, "rope_theta": 1000000.0, "sliding_window": 32768,
        "tie_word_embeddings": true, "torch_dtype": "bfloat16", "use_sliding_window": false,
        "vocab_size": 151936,
    });
    let qwen3 = json!({
        "architectures": ["Qwen3ForCausalLM"], "attention_bias": false, "bos_token_id": 151643,
        "eos_token_id": 151645, "head_dim": 128, "hidden_act": "silu", "hidden_size": 1024,
        "intermediate_size": 3072, "max_position_embeddings": 40960, "max_window_layers": 28,
        "model_type": "qwen3", "num_attention_heads": 16, "num_hidden_layers": 28,
        "num_key_value_heads": 8, "rms_norm_eps": 1e-6, "rope_scaling": null,
        "rope_theta": 1000000, "sliding_window": null, "tie_word_embeddings": true,
        "torch_dtype": "bfloat16", "use_sliding_window": false, "vocab_size": 151936,
    });
    let llama32 = json!({
        "architectures": ["LlamaForCausalLM"], "attention_bias": false, "bos_token_id": 128000,
        "eos_token_id": [128001, 128008, 128009], "head_dim": 64, "hidden_act": "silu",
        "hidden_size": 2048, "intermediate_size": 8192, "max_position_embeddings": 131072,
        "mlp_bias": false, "model_type": "llama", "num_attention_heads": 32,
        "num_hidden_layers": 16, "num_key_value_heads": 8, "rms_norm_eps": 1e-5,
        "rope_scaling": {"factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
            "original_max_position_embeddings": 8192, "rope_type": "llama3"},
        "rope_theta": 500000.0, "tie_word_embeddings": true, "torch_dtype": "bfloat16",
        "vocab_size": 128256,
    });
    for (json, expected) in [
        (smollm2, (576, 30, 9, 3, 64, true, false)),
        (qwen25, (896, 24, 14, 2, 64, true, true)),
        (qwen3, (1024, 28, 16, 8, 128, true, false)),
        (llama32, (2048, 16, 32, 8, 64, true, false)),
    ] {
        let read = parse(Path::new("config.json"), json.as_object().expect("object"));
        assert_eq!(sizes(read.expect("published").0), expected);
    }
}
