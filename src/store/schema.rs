//! The tables, as both databases have them after all migrations. Written by hand; a test holds it against both.

diesel::table! {
    groups (id) {
        id -> Text,
        display_name -> Text,
        create_us -> BigInt,
        update_us -> BigInt,
        delete_us -> Nullable<BigInt>,
    }
}

diesel::table! {
    group_connection (group_a, group_b) {
        group_a -> Text,
        group_b -> Text,
        create_us -> BigInt,
    }
}

diesel::table! {
    connector_enablement (group_id, connector) {
        group_id -> Text,
        connector -> Text,
        enabled -> Bool,
        update_us -> BigInt,
        update_by -> Text,
    }
}

diesel::table! {
    credentials (id) {
        id -> Text,
        connector -> Text,
        auth_kind -> Text,
        client_id -> Text,
        organization_id -> Text,
        user_id -> Text,
        organization_name -> Text,
        username -> Text,
        user_display_name -> Text,
        base_url -> Text,
        sealed -> Binary,
        key_id -> Text,
        refreshable -> Bool,
        generation -> BigInt,
        lease_owner -> Nullable<Text>,
        lease_until_us -> BigInt,
        state -> Text,
        cause -> Text,
        create_us -> BigInt,
        update_us -> BigInt,
        refresh_us -> Nullable<BigInt>,
        log_in_us -> BigInt,
        refusal_kind -> Text,
        refusal_code -> Text,
        refusal_message -> Text,
        refusal_count -> BigInt,
        refusal_us -> BigInt,
        try_us -> BigInt,
        next_try_us -> BigInt,
    }
}

diesel::table! {
    organization (connector, organization_id) {
        connector -> Text,
        organization_id -> Text,
        failures -> BigInt,
        failure_us -> BigInt,
        closed_until_us -> BigInt,
        refusals -> BigInt,
        refusal_us -> BigInt,
        refused_until_us -> BigInt,
        calls_used -> BigInt,
        calls_limit -> BigInt,
        calls_us -> BigInt,
        probe -> Text,
        probe_until_us -> BigInt,
        resume_us -> BigInt,
    }
}

diesel::table! {
    sync_turn (group_id, organization) {
        group_id -> Text,
        organization -> Text,
        started -> BigInt,
    }
}

diesel::table! {
    integration (id) {
        id -> Text,
        group_id -> Text,
        connector -> Text,
        display_name -> Text,
        name_key -> Text,
        state -> Text,
        state_reason -> Text,
        state_message -> Text,
        state_us -> BigInt,
        settings -> Text,
        credential_id -> Nullable<Text>,
        generation -> BigInt,
        revision -> BigInt,
        create_us -> BigInt,
        create_by -> Text,
        update_us -> BigInt,
        activate_us -> Nullable<BigInt>,
        expire_us -> Nullable<BigInt>,
        company_records -> Nullable<BigInt>,
        last_success_us -> Nullable<BigInt>,
        data_database -> Text,
        schedule -> Text,
        next_sync_us -> Nullable<BigInt>,
        budget_calls -> Nullable<BigInt>,
        budget_reserve -> Nullable<BigInt>,
        account_no -> BigInt,
    }
}

diesel::table! {
    api_usage (integration_id, day) {
        integration_id -> Text,
        day -> BigInt,
        sync_calls -> BigInt,
        live_calls -> BigInt,
    }
}

diesel::table! {
    integration_field (integration_id, object, key) {
        integration_id -> Text,
        object -> Text,
        key -> Text,
        label -> Text,
        field_type -> Text,
        describe -> Text,
        position -> BigInt,
        missing_us -> Nullable<BigInt>,
        alias -> Text,
        select_us -> BigInt,
    }
}

diesel::table! {
    source (group_id, integration_id) {
        group_id -> Text,
        integration_id -> Text,
        label -> Text,
        connected -> Bool,
        create_us -> BigInt,
    }
}

diesel::table! {
    share (integration_id, group_id) {
        integration_id -> Text,
        group_id -> Text,
        all_active -> Bool,
        create_us -> BigInt,
        create_by -> Text,
        update_us -> BigInt,
    }
}

diesel::table! {
    share_field (integration_id, group_id, object, key) {
        integration_id -> Text,
        group_id -> Text,
        object -> Text,
        key -> Text,
    }
}

diesel::table! {
    activation (integration_id, group_id, object, key) {
        integration_id -> Text,
        group_id -> Text,
        object -> Text,
        key -> Text,
        active -> Bool,
    }
}

diesel::table! {
    authorization (state_hash) {
        state_hash -> Text,
        integration_id -> Text,
        group_id -> Text,
        create_by -> Text,
        sealed -> Binary,
        key_id -> Text,
        redirect_uri -> Text,
        landing -> Text,
        callback -> Nullable<Binary>,
        create_us -> BigInt,
        expire_us -> BigInt,
        used_us -> Nullable<BigInt>,
    }
}

diesel::table! {
    request (group_id, method, request_id) {
        group_id -> Text,
        method -> Text,
        request_id -> Text,
        fingerprint -> Text,
        result -> Text,
        create_us -> BigInt,
    }
}

diesel::table! {
    outbox (id) {
        id -> Text,
        kind -> Text,
        subject -> Text,
        detail -> Text,
        sealed -> Binary,
        key_id -> Text,
        attempt -> BigInt,
        due_us -> BigInt,
        lease_owner -> Nullable<Text>,
        done_us -> Nullable<BigInt>,
        last_error -> Text,
        create_us -> BigInt,
    }
}

diesel::table! {
    sync (id) {
        id -> Text,
        integration_id -> Text,
        generation -> BigInt,
        state -> Text,
        trigger -> Text,
        create_us -> BigInt,
        create_by -> Text,
        start_us -> Nullable<BigInt>,
        end_us -> Nullable<BigInt>,
        due_us -> BigInt,
        lease_owner -> Nullable<Text>,
        fence -> BigInt,
        attempt -> BigInt,
        checkpoint -> Nullable<Binary>,
        checkpoint_seq -> BigInt,
        cancel_requested -> Bool,
        bytes -> BigInt,
        api_calls -> BigInt,
        error_reason -> Text,
        error_message -> Text,
        note -> Text,
        tries -> BigInt,
        change_no -> BigInt,
        missing -> Text,
        confirms -> Nullable<Text>,
        confirm_us -> Nullable<BigInt>,
        mode -> Text,
        organization -> Text,
        asked -> Text,
        busy_us -> BigInt,
        update_us -> BigInt,
    }
}

diesel::table! {
    sync_object (sync_id, object) {
        sync_id -> Text,
        object -> Text,
        position -> BigInt,
        state -> Text,
        expected -> Nullable<BigInt>,
        read -> BigInt,
        written -> BigInt,
        unchanged -> BigInt,
        removed -> BigInt,
        error_reason -> Text,
        error_message -> Text,
        tries -> BigInt,
        added -> BigInt,
        held -> BigInt,
    }
}

diesel::table! {
    data_set (integration_id) {
        integration_id -> Text,
        generation -> BigInt,
        change_no -> BigInt,
        forgotten_no -> BigInt,
        sync_id -> Nullable<Text>,
        fence -> BigInt,
        stop_fence -> BigInt,
        checkpoint -> Nullable<Binary>,
        checkpoint_seq -> BigInt,
        bytes -> BigInt,
        api_calls -> BigInt,
        missing -> Text,
        field_types -> Text,
        state -> Nullable<Binary>,
        account -> Text,
        mode -> Text,
        plan -> Nullable<Binary>,
        company_no -> BigInt,
        partial_us -> BigInt,
        partial_clock -> BigInt,
    }
}

diesel::table! {
    data_read (integration_id, object) {
        integration_id -> Text,
        object -> Text,
        fields -> Text,
        calculated_us -> BigInt,
        sweep_us -> BigInt,
    }
}

diesel::table! {
    data_wanted (integration_id, object, external_id) {
        integration_id -> Text,
        object -> Text,
        external_id -> Text,
    }
}

diesel::table! {
    data_object (integration_id, object) {
        integration_id -> Text,
        object -> Text,
        position -> BigInt,
        state -> Text,
        expected -> Nullable<BigInt>,
        read -> BigInt,
        written -> BigInt,
        unchanged -> BigInt,
        removed -> BigInt,
        error_reason -> Text,
        error_message -> Text,
        tries -> BigInt,
        added -> BigInt,
        held -> BigInt,
    }
}

diesel::table! {
    removal (integration_id, object, external_id) {
        integration_id -> Text,
        object -> Text,
        external_id -> Text,
        sync_id -> Text,
        generation -> BigInt,
        read_us -> BigInt,
        read_clock -> BigInt,
        first_us -> Nullable<BigInt>,
    }
}

diesel::table! {
    record (integration_id, object, external_id) {
        integration_id -> Text,
        object -> Text,
        external_id -> Text,
        company_id -> Nullable<Text>,
        name -> Text,
        name_key -> Text,
        homepage -> Nullable<Text>,
        payload -> Text,
        hash -> BigInt,
        modified_us -> BigInt,
        read_us -> BigInt,
        delete_us -> Nullable<BigInt>,
        merged_into -> Nullable<Text>,
        change_no -> BigInt,
        read_clock -> BigInt,
    }
}

diesel::table! {
    record_link (integration_id, child_object, child_id, parent_object, parent_id) {
        integration_id -> Text,
        child_object -> Text,
        child_id -> Text,
        parent_object -> Text,
        parent_id -> Text,
    }
}

diesel::table! {
    record_child (integration_id, parent_object, parent_id, child_object, child_id) {
        integration_id -> Text,
        parent_object -> Text,
        parent_id -> Text,
        child_object -> Text,
        child_id -> Text,
    }
}

diesel::table! {
    company_record (integration_id, company_id, object, external_id) {
        integration_id -> Text,
        company_id -> Text,
        object -> Text,
        external_id -> Text,
    }
}

diesel::table! {
    company_name (integration_id, name_key, company_id, object, external_id) {
        integration_id -> Text,
        name_key -> Text,
        company_id -> Text,
        object -> Text,
        external_id -> Text,
    }
}

diesel::table! {
    tracked_company (group_id, company_id) {
        group_id -> Text,
        company_id -> Text,
        name -> Text,
        name_key -> Text,
        homepage -> Text,
        create_us -> BigInt,
        create_by -> Text,
    }
}

diesel::table! {
    platform_company (company_id) {
        company_id -> Text,
        platform_id -> Text,
        name -> Text,
        homepage -> Text,
        change_no -> BigInt,
        update_us -> BigInt,
        delete_us -> Nullable<BigInt>,
    }
}

diesel::table! {
    group_event_head (group_id) {
        group_id -> Text,
        last_no -> BigInt,
        purged_no -> BigInt,
    }
}

diesel::table! {
    group_event (group_id, event_no) {
        group_id -> Text,
        event_no -> BigInt,
        kind -> Text,
        integration_id -> Text,
        subject -> Text,
        reason -> Text,
        create_us -> BigInt,
    }
}

diesel::table! {
    audit_entry (id) {
        id -> Text,
        group_id -> Text,
        create_us -> BigInt,
        actor -> Text,
        role -> Text,
        request_id -> Text,
        method -> Text,
        resource -> Text,
        detail -> Text,
    }
}

diesel::table! {
    meta (key) {
        key -> Text,
        value -> Text,
    }
}

diesel::joinable!(integration -> credentials (credential_id));
diesel::joinable!(source -> integration (integration_id));
diesel::joinable!(share -> integration (integration_id));
diesel::joinable!(share -> groups (group_id));

diesel::allow_tables_to_appear_in_same_query!(
    groups,
    group_connection,
    connector_enablement,
    credentials,
    organization,
    integration,
    api_usage,
    integration_field,
    source,
    share,
    share_field,
    activation,
    authorization,
    request,
    outbox,
    sync,
    sync_object,
    data_set,
    data_object,
    data_read,
    data_wanted,
    removal,
    record,
    record_link,
    record_child,
    company_record,
    company_name,
    tracked_company,
    platform_company,
    group_event_head,
    group_event,
    audit_entry,
    meta,
);
