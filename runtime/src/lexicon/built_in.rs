//! The built-in lexicons: common English words of everyday life, each in one domain.
//!
//! The words are taken apart when the program is compiled, so that a firmware has them in its flash.

use homespun_core::select::domain::Lexicon;

/// A domain and its words, which stand in order with one space between them.
macro_rules! lexicon {
    ($name:literal, $words:literal) => {
        Lexicon {
            name: $name,
            words: {
                const WORDS: [&str; count($words)] = split($words);
                &WORDS
            },
        }
    };
}

const fn count(words: &str) -> usize {
    let (bytes, mut count, mut i) = (words.as_bytes(), 1, 0);
    while i < bytes.len() {
        count += (bytes[i] == b' ') as usize;
        i += 1;
    }
    count
}

const fn split<const N: usize>(words: &'static str) -> [&'static str; N] {
    let (mut all, mut rest, mut n) = ([""; N], words, 0);
    while n < N {
        let mut end = 0;
        while end < rest.len() && rest.as_bytes()[end] != b' ' {
            end += 1;
        }
        all[n] = rest.split_at(end).0;
        rest = rest.split_at(if end < rest.len() { end + 1 } else { end }).1;
        n += 1;
    }
    all
}

/// Domains and their words.
pub static LEXICONS: [Lexicon<&'static str, &'static [&'static str]>; 13] = [
    lexicon!(
        "food",
        "apple apples ate bake baked baking banana beans beef beer berries biscuit biscuits boil \
         bread breakfast butter cake cakes cheese chef chicken chocolate coffee cook cooked \
         cookies cooking cream delicious dessert dinner dish dishes drink drinking drinks eat \
         eating egg eggs fish fruit fry honey hungry jam juice kitchen lemon lunch meal meals \
         meat menu milk noodles orange oven pasta pepper pie potato potatoes recipe restaurant \
         rice roast salad salt sauce snack soup spice sugar supper taste tasty tea toast tomato \
         vegetable vegetables wine yogurt"
    ),
    lexicon!(
        "travel",
        "abroad airline airport beach bicycle bike boat bus camp camping city coast commute drive \
         driving ferry flight fly hike hiking holiday holidays hostel hotel island journey \
         luggage map mountain mountains museum passport plane railway road route ship souvenir \
         souvenirs station suitcase taxi tent ticket tickets tour tourist town train trains tram \
         travel travelling trip trips vacation village visa visit"
    ),
    lexicon!(
        "music",
        "album band bands beat cello choir chorus classical concert concerts drum drums flute \
         guitar instrument instruments jazz listen listening lyrics melody music opera orchestra \
         organ piano playlist pop radio record records rhythm rock sing singer singing song songs \
         trumpet tune violin"
    ),
    lexicon!(
        "sport",
        "baseball basketball champion climb climbing club coach cricket cycling exercise fitness \
         football game games goal goals golf gym hockey jog jogging league marathon match player \
         players race rugby run runner running score ski skiing soccer sport sports stretch surf \
         swim swimming team teams tennis tournament trainer training win winning workout yoga"
    ),
    lexicon!(
        "health",
        "ache allergic allergy asthma blood bone bones cancer clinic cold cough dentist diabetes \
         diagnosis disease doctor doctors dose drug drugs fatigue fever flu headache health \
         healthy heart hospital ill illness infection injury insomnia lung lungs medication \
         medicine nurse operation pain painful patient patients pill pills pregnancy pregnant \
         prescription pressure rash sick skin sleep stomach surgery swelling symptom symptoms \
         teeth therapy throat tired tooth treatment vaccine virus vitamin wound"
    ),
    lexicon!(
        "feelings",
        "afraid alone anger angry anxiety anxious ashamed bored calm cry crying depressed \
         depression disappointed embarrassed emotion emotions excited fear feel feeling feelings \
         furious glad grateful grief guilty happiness happy hope hopeful hurt jealous joy lonely \
         love loved mad nervous proud sad sadness scared stress stressed surprised thankful trust \
         upset worried worry"
    ),
    lexicon!(
        "family",
        "anniversary aunt baby birthday boyfriend brother cat child children cousin dad daughter \
         divorce dog families family father friend friends friendship girlfriend grandfather \
         grandma grandmother grandpa husband kid kids kitten marriage married mom mother mum \
         neighbor neighbour nephew niece parent parents partner pet pets puppy sibling siblings \
         sister son spouse uncle wedding wife"
    ),
    lexicon!(
        "home",
        "apartment bathroom bed bedroom carpet chair clean cleaning couch curtain decorate door \
         dust fence fix flat floor furniture garage garden hammer heating home house lamp \
         landlord laundry lawn living paint painting pipe plumber rent repair roof room rooms \
         shelf sofa stairs table tap tidy tool tools vacuum wall walls wash washing window \
         windows"
    ),
    lexicon!(
        "work",
        "boss business career client clients colleague colleagues company contract coworker \
         customer customers deadline employee employer fired hire hired interview job jobs \
         manager meeting meetings office overtime profession project promotion report resume \
         retire retirement salary staff task tasks work worker working"
    ),
    lexicon!(
        "money",
        "account bank banks bill bills bought budget buy buying cash cheap cost costs credit \
         debit debt dollar dollars euro euros expensive fund income insurance interest invest \
         investment investor loan loans money mortgage paid pay paying payment pound pounds price \
         prices profit save saving savings sell selling shop shopping shops sold spend spending \
         stock stocks store tax taxes wage"
    ),
    lexicon!(
        "technology",
        "algorithm app apps battery camera charger code coding computer computers data database \
         developer device devices digital download email file files hardware install internet \
         keyboard laptop machine machines mouse network online password phone phones printer \
         program programming programs robot robots screen server smartphone software tablet \
         technology update upload video web website"
    ),
    lexicon!(
        "learning",
        "biology book books chemistry class classes college course courses degree essay exam \
         exams geography grade grades grammar history homework knowledge language languages learn \
         learned learning lesson lessons library math mathematics physics read reading research \
         school schools science student students study studying teacher teachers test tests \
         theory university vocabulary write writing"
    ),
    lexicon!(
        "nature",
        "animal animals autumn bear bee bees bird birds climate cloud clouds cow flower flowers \
         forest grass horse insect lake leaf leaves moon nature ocean planet plant plants rain \
         rainy river sea season sheep sky snow spider spring star stars storm summer sun sunny \
         temperature tree trees weather wildlife wind windy winter wolf wood woods"
    ),
];
