-- Every landed row of an edge between two identifiers, with the reason why it may not count (null: it may).
-- A revocation counts without authentication, and without other keys: taking apart is the safe direction. Of all rows
-- that may count about one pair the latest decides, and among rows of one instant a revocation; a source without times
-- comes before all others.
with worded as (
    select
        r.*,
        coalesce(lower(trim(r.is_authenticated, ' ')), '') as authenticated_word,
        coalesce(lower(trim(r.is_revoked, ' ')), '') as revoked_word,
        coalesce(r.observed_at_utc, cast('0001-01-01 00:00:00' as timestamp)) as known_from_utc,
        case when r.user_id < r.other_id then r.user_id else r.other_id end as left_id,
        case when r.user_id < r.other_id then r.other_id else r.user_id end as right_id,
        case when r.user_id < r.other_id then r.user_kind else r.other_kind end as left_kind,
        case when r.user_id < r.other_id then r.other_kind else r.user_kind end as right_kind
    from landed.identities as r
),
judged as (
    select
        w.*,
        w.revoked_word in ('1', 'true', 'yes', 'y') as undoes,
        case
            when w.fault is not null and not (w.fault = 'missing_key' and w.revoked_word in ('1', 'true', 'yes', 'y')) then w.fault
            when w.revoked_word not in ('', '1', 'true', 'yes', 'y', '0', 'false', 'no', 'n') then 'unparsable_revoked'
            when w.revoked_word not in ('1', 'true', 'yes', 'y') and w.authenticated_word in ('', '0', 'false', 'no', 'n')
                then 'not_authenticated'
            when w.revoked_word not in ('1', 'true', 'yes', 'y') and w.authenticated_word not in ('1', 'true', 'yes', 'y')
                then 'unparsable_authenticated'
            when w.user_id is null or w.other_id is null then 'missing_identifier'
            when w.user_id = w.other_id then 'same_identifier'
            when w.is_timed and w.observed_at_text is null then 'missing_time'
            when w.is_timed and w.observed_at_utc is null then 'unparsable_time'
        end as reason
    from worded as w
)
select
    j.*,
    case j.reason
        when 'unparsable_revoked' then 'is_revoked'
        when 'unparsable_authenticated' then 'is_authenticated'
        when 'missing_identifier' then case when j.user_id is null then 'user_id' else 'other_id' end
        when 'same_identifier' then 'other_id'
        when 'missing_time' then 'observed_at_utc'
        when 'unparsable_time' then 'observed_at_utc'
    end as column_name,
    case j.reason
        when 'unparsable_revoked' then j.is_revoked
        when 'unparsable_authenticated' then j.is_authenticated
        when 'unparsable_time' then j.observed_at_text
    end as fault_value,
    row_number() over (
        partition by j.reason is null, j.left_id, j.right_id
        order by j.known_from_utc desc, j.undoes desc, j.file_sha256, j.source, j.line
    ) as place_in_pair
from judged as j
