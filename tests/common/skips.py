"""
Which of transformers' common tests cannot apply, and why. Every other one runs and must pass.

A name that matches no test is an error, and so is a test that skips itself without being named here.
"""

from itertools import product

ATTENTION = "a recurrent model: there is no attention to choose an implementation of, or to look at"
EMBEDDINGS = "the input is a spectrogram: there are no token or position embeddings"
TEXT = "not a language model: no decoder, no shifted labels, no text generation"
COMPOSITE = "one flat configuration: no models within the model"
ROTARY = "no rotary position encoding"
EXPERTS = "no mixture of experts"
FEATURE_GETTERS = "one kind of input and output: no get_{text,image,audio,video}_features"
NO_TENSOR_PARALLEL = "no tensor-parallel plan: data parallelism suits a model of this size"
RECORDED = "forward collects the hidden states itself, without capture_outputs"
CHECKPOINT_FORMAT = "no older checkpoint format that loading has to map from"

MODELING = {
    "test_attention_outputs": ATTENTION,
    "test_attn_implementation_composite_models": ATTENTION,
    "test_can_set_attention_dynamically": ATTENTION,
    "test_can_set_attention_dynamically_composite_model": ATTENTION,
    "test_eager_matches_sdpa_inference_*": ATTENTION,
    "test_flash_attn_*": ATTENTION,
    "test_flex_attention_with_grads": ATTENTION,
    "test_sdpa_can_*": ATTENTION,
    "test_sliding_window_mask": ATTENTION,
    "test_inputs_embeds": EMBEDDINGS,
    "test_inputs_embeds_matches_input_ids": EMBEDDINGS,
    "test_enable_input_require_grads": EMBEDDINGS,
    "test_enable_input_require_grads_with_gradient_checkpointing": EMBEDDINGS,
    "test_model_get_set_embeddings": EMBEDDINGS,
    "test_resize_embeddings_untied*": EMBEDDINGS,
    "test_resize_position_vector_embeddings": EMBEDDINGS,
    "test_resize_tokens_embeddings*": EMBEDDINGS,
    "test_causal_lm_loss_honors_shift_labels": TEXT,
    "test_encoder_decoder_loss_no_double_shift": TEXT,
    "test_internal_model_config_and_subconfig_are_same": COMPOSITE,
    "test_model_rope_*": ROTARY,
    "test_vision_axial_rope": ROTARY,
    "test_eager_matches_batched_and_grouped_inference_*": EXPERTS,
    "test_moe_models_record_router_logits": EXPERTS,
    "test_output_router_logits_from_config": EXPERTS,
    "test_get_*_features_*": FEATURE_GETTERS,
    "test_tied_head_has_a_tp_plan_entry": NO_TENSOR_PARALLEL,
    "test_tp_plan_matches_params": NO_TENSOR_PARALLEL,
    "test_can_capture_specific_layers_hidden_states": RECORDED,
    "test_capture_outputs_decorator": RECORDED,
    "test_can_load_from_already_mapped_keys": CHECKPOINT_FORMAT,
    "test_reverse_loading_mapping": CHECKPOINT_FORMAT,
    "test_torch_compile_for_training": "wants one unbroken graph: packed sequences need their lengths on the host",
}

# Skipped by transformers' own decorators where there is no accelerator, only one, or no package `kernels`.
MODELING_BY_HARDWARE = (
    "test_can_load_with_device_context_manager",
    "test_can_load_with_global_device_set",
    "test_cpu_offload",
    "test_disk_offload_*",
    "test_kernels_can_load_without_crashing",
    "test_model_parallelism",
)

NO_IMAGES = "the processor takes audio and text, neither images nor videos"
NO_CHAT = "the processor has no chat template: speech in, a transcript out"
NO_PLACEHOLDERS = "the text is the transcript: it holds no placeholder tokens for the audio"

PROCESSING = {
    "test_chat_template_*": NO_CHAT,
    "test_apply_chat_template_*": NO_CHAT,
    "test_get_num_multimodal_tokens_*": NO_PLACEHOLDERS,
    "test_replacement_offsets": NO_PLACEHOLDERS,
    "test_processor_text_has_no_visual": NO_IMAGES,
    "test_args_overlap_kwargs": NO_IMAGES,
    **{
        f"test_{name}_{number}_{kind}": NO_IMAGES
        for name, (number, kind) in product(
            (
                "doubly_passed_kwargs",
                "kwargs_overrides_default_subprocessor_kwargs",
                "overlapping_text_image_kwargs_handling",
                "structured_kwargs_nested_from_dict",
                "subprocessor_defaults_preserved_by_kwargs",
                "unstructured_kwargs",
                "unstructured_kwargs_batched",
            ),
            enumerate(("images", "videos")),
        )
    },
    "test_subprocessor_defaults_0_text": "text alone gives labels: the attention mask belongs to the audio",
    "test_subprocessor_defaults_1_images": NO_IMAGES,
    "test_subprocessor_defaults_2_videos": NO_IMAGES,
}

PIPELINES = {
    "test_pipeline_[!a]*": "a task that a CTC speech recogniser does not do",
    "test_pipeline_a[!u]*": "a task that a CTC speech recogniser does not do",
    "test_pipeline_audio_classification*": "no classification head",
}
