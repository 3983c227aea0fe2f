//! Loading against sources written out by hand, for every family.

use std::collections::BTreeMap;

use homespun_kernels::Storage;

use super::*;
use crate::config::RopeScaling;
use crate::family;

/// Tensors of a test: every element of a tensor is the tensor's number.
#[derive(Clone)]
struct Vectors(BTreeMap<String, (Vec<usize>, Vec<f32>)>);

impl<'a> TensorSource<'a> for &'a Vectors {
    type Error = String;

    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Option<Data<'a>>, String> {
        let tensors: &'a BTreeMap<_, (Vec<usize>, Vec<f32>)> = &self.0;
        match tensors.get(name) {
            None => Ok(None),
            Some((found, data)) if found == shape => Ok(Some(Data::F32(data))),
            Some((found, _)) => Err(format!("{name}: {found:?} for {shape:?}")),
        }
    }
}

fn config(family: family::Family) -> Config {
    let spec = family.spec();
    let configured = |bias| bias != family::Bias::Never;
    Config {
        family,
        dim: 8,
        hidden: 12,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        head_dim: 4,
        vocab: 16,
        max_context: 32,
        norm_eps: 1e-5,
        rope_theta: 1e4,
        rope_scaling: RopeScaling::None,
        tied: false,
        qkv_bias: configured(spec.qkv_bias),
        o_bias: configured(spec.o_bias),
        mlp_bias: configured(spec.mlp_bias),
        qk_norm: spec.qk_norm,
    }
}

/// What transformers saves for such a model, written out by hand.
fn saved(c: &Config) -> Vectors {
    let mut list = vec![
        ("model.embed_tokens.weight".to_owned(), vec![16, 8]),
        ("model.norm.weight".to_owned(), vec![8]),
        ("lm_head.weight".to_owned(), vec![16, 8]),
    ];
    for i in 0..2 {
        let mut add = |name: &str, shape: &[usize]| {
            list.push((format!("model.layers.{i}.{name}"), shape.to_vec()));
        };
        add("input_layernorm.weight", &[8]);
        add("post_attention_layernorm.weight", &[8]);
        for (name, shape, bias) in [
            ("self_attn.q_proj", [16, 8], c.qkv_bias),
            ("self_attn.k_proj", [8, 8], c.qkv_bias),
            ("self_attn.v_proj", [8, 8], c.qkv_bias),
            ("self_attn.o_proj", [8, 16], c.o_bias),
            ("mlp.gate_proj", [12, 8], c.mlp_bias),
            ("mlp.up_proj", [12, 8], c.mlp_bias),
            ("mlp.down_proj", [8, 12], c.mlp_bias),
        ] {
            add(&format!("{name}.weight"), &shape);
            if bias {
                add(&format!("{name}.bias"), &shape[..1]);
            }
        }
        if c.qk_norm {
            add("self_attn.q_norm.weight", &[4]);
            add("self_attn.k_norm.weight", &[4]);
        }
    }
    let filled = |(i, (name, shape)): (usize, (String, Vec<usize>))| {
        let n = shape.iter().product();
        (name, (shape, vec![i as f32; n]))
    };
    Vectors(list.into_iter().enumerate().map(filled).collect())
}

/// The elements of a matrix that is not packed.
fn dense(matrix: Matrix<'_>) -> Data<'_> {
    match matrix.storage() {
        Storage::Dense(data) => data,
        Storage::Packed(_) => panic!("packed"),
    }
}

#[test]
fn every_family_loads_each_tensor_once_from_its_name() {
    for spec in family::ALL {
        let config = config(spec.family);
        let tensors = saved(&config);
        let mut layers = vec![Layer::empty(); 2];
        let source = &tensors;
        let weights = load(&source, &config, &mut layers).expect(spec.model_type);
        let mut seen = vec![dense(weights.embed), weights.norm, dense(weights.head)];
        for layer in weights.layers {
            seen.extend([layer.input_norm, layer.post_norm]);
            seen.extend([layer.q_norm, layer.k_norm].into_iter().flatten());
            for linear in [
                layer.q_proj,
                layer.k_proj,
                layer.v_proj,
                layer.o_proj,
                layer.gate_proj,
                layer.up_proj,
                layer.down_proj,
            ] {
                seen.push(dense(linear.weight));
                seen.extend(linear.bias);
            }
        }
        let mut seen: Vec<_> = seen.iter().map(|data| data.get(0) as usize).collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..tensors.0.len()).collect::<Vec<_>>(), "{}", spec.model_type);
        let value = |name: &str| tensors.0[name].1[0];
        let v = weights.layers[1].v_proj.weight;
        assert_eq!(v.get(0, 0), value("model.layers.1.self_attn.v_proj.weight"));
        let up = weights.layers[0].up_proj.weight;
        assert_eq!(up.get(0, 0), value("model.layers.0.mlp.up_proj.weight"));
        assert_eq!(weights.head.get(0, 0), value("lm_head.weight"));
    }
}

#[test]
fn each_tensor_that_is_missing_or_misshapen_is_named() {
    for spec in family::ALL {
        let config = config(spec.family);
        let whole = saved(&config);
        for name in whole.0.keys() {
            let mut tensors = whole.clone();
            tensors.0.remove(name);
            let mut layers = vec![Layer::empty(); 2];
            match load(&&tensors, &config, &mut layers) {
                Err(LoadError::Missing { name: missing }) => assert_eq!(missing, name.as_str()),
                other => panic!("without {name}: {other:?}"),
            }
            let mut tensors = whole.clone();
            tensors.0.get_mut(name).expect(name).0[0] += 1;
            let mut layers = vec![Layer::empty(); 2];
            match load(&&tensors, &config, &mut layers) {
                Err(LoadError::Source(message)) => assert!(message.starts_with(name), "{message}"),
                other => panic!("misshapen {name}: {other:?}"),
            }
        }
    }
}

#[test]
fn a_source_that_gives_too_few_elements_is_refused() {
    let config = config(family::Family::Llama);
    let mut tensors = saved(&config);
    tensors.0.get_mut("model.norm.weight").expect("norm").1.pop();
    let error = load(&&tensors, &config, &mut [Layer::empty(); 2]).expect_err("short");
    assert_eq!(error.to_string(), "tensor `model.norm.weight` has 7 elements, not 8");
}

#[test]
fn a_tied_head_is_the_embedding_under_either_name() {
    let config = Config { tied: true, ..config(family::Family::Llama) };
    for (kept, removed) in [
        ("model.embed_tokens.weight", "lm_head.weight"),
        ("lm_head.weight", "model.embed_tokens.weight"),
    ] {
        let mut tensors = saved(&config);
        tensors.0.remove(removed);
        let mut layers = [Layer::empty(); 2];
        let weights = load(&&tensors, &config, &mut layers).expect(kept);
        assert_eq!(weights.embed.get(0, 0), tensors.0[kept].1[0]);
        assert_eq!(weights.head.get(0, 0), tensors.0[kept].1[0]);
    }
    let mut tensors = saved(&config);
    tensors.0.retain(|name, _| name.starts_with("model.layers") || name == "model.norm.weight");
    let error = load(&&tensors, &config, &mut [Layer::empty(); 2]).expect_err("neither");
    assert_eq!(error.to_string(), "tensor `model.embed_tokens.weight` is missing");
}

#[test]
fn only_names_that_are_loaded_are_expected() {
    for spec in family::ALL {
        let config = config(spec.family);
        for name in saved(&config).0.keys() {
            assert!(expects(&config, name), "{}: {name}", spec.model_type);
        }
        assert!(expects(&config, "model.layers.1.self_attn.rotary_emb.inv_freq"));
        for name in [
            "model.layers.2.self_attn.q_proj.weight",
            "model.layers.x.self_attn.q_proj.weight",
            "model.layers.0.self_attn.q_proj.scale",
            "model.layers.0.mlp.router.weight",
            "model.layers.0",
            "transformer.wte.weight",
            "",
        ] {
            assert!(!expects(&config, name), "{}: {name}", spec.model_type);
        }
        let bias = expects(&config, "model.layers.0.self_attn.q_proj.bias");
        assert_eq!(bias, config.qkv_bias);
        let norm = expects(&config, "model.layers.0.self_attn.q_norm.weight");
        assert_eq!(norm, config.qk_norm);
    }
}

#[test]
fn the_longest_name_fits() {
    for spec in family::ALL {
        let n = &spec.names;
        let layer = n.layer.len() + crate::config::MAX_LAYERS.to_string().len() + 1;
        for part in [n.input_norm, n.post_norm, n.q_norm, n.k_norm] {
            assert!(layer + part.len() <= Name::new().capacity(), "{part}");
        }
        let linears = [n.q_proj, n.k_proj, n.v_proj, n.o_proj, n.gate_proj, n.up_proj, n.down_proj];
        for part in linears {
            assert!(layer + part.len() + ".weight".len() <= Name::new().capacity(), "{part}");
        }
        for part in [n.embed, n.norm, n.head] {
            assert!(part.len() <= Name::new().capacity(), "{part}");
        }
    }
}
